"""Rerank the first 50 hits by late interaction, and ask a generator with the best three."""

from course_utils import (
    BM25Retriever,
    LateInteraction,
    Pipeline,
    chunk_documents,
    load_embedder,
    load_generator,
    read_folder,
)

embedder = load_embedder()
nodes = chunk_documents(read_folder("datasets/handbook/week1/runbooks"), embedder.tokenizer)
retriever = BM25Retriever(nodes, top_k=50)
pipeline = Pipeline(retriever, LateInteraction(embedder), reader=load_generator())
question = "How long may a drain of a region take?"
for hit in pipeline.search(question):
    print(f"{hit.get_score():.3f}  {hit.node.metadata['title']}")
answer = pipeline.ask(question)
print(f"{answer.text!r}, from {answer.page}")

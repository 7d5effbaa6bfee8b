"""Search a folder of Markdown or text files: python examples/search_a_folder.py FOLDER QUESTION"""

import sys

from course_utils import (
    BM25Retriever,
    DenseRetriever,
    FusedRetriever,
    chunk_documents,
    load_embedder,
    read_folder,
)

DEMO = ["datasets/handbook/week1/runbooks", "What if a whole depot goes silent?"]
folder, question = sys.argv[1:] or DEMO
embedder = load_embedder()
nodes = chunk_documents(read_folder(folder), embedder.tokenizer)
retriever = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, embedder)], top_k=5)
for hit in retriever.retrieve(question):
    print(f"{hit.node.metadata['path']}: {' '.join(hit.text.split())[:70]}")

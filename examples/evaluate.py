"""Compare two retrievers on the same questions, with 95 % intervals."""

from course_utils import (
    BM25Retriever,
    chunk_documents,
    estimate,
    evaluate_retrieval,
    load_embedder,
    paired_difference,
)
from course_utils.tasks.handbook import load_handbook, load_questions

pages = load_handbook()
chunks = chunk_documents(pages, load_embedder().tokenizer)
questions = load_questions("dev", "stress")
scores = {}
for name, retriever in {"pages": BM25Retriever(pages), "chunks": BM25Retriever(chunks)}.items():
    scores[name] = evaluate_retrieval(retriever, questions, ["ndcg_cut_10"])["ndcg_cut_10"]
    print(f"BM25 over {name}: nDCG@10 {estimate(scores[name])}, n = {len(scores[name])}")
print("chunks minus pages:", paired_difference(scores["chunks"], scores["pages"]))

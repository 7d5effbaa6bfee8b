"""RAG or fine-tuning? Measure it: the package that the notebooks share.

One folder is one step, and a folder imports only from those above it::

    models      which weights, where from, how checked, how loaded
    search      documents → chunks → hits                            notebooks 01 to 04
    generate    hits → answer with its source                        notebooks 01 and 05
    tune        examples → adapter                                   notebooks 06 and 07
    evaluate    scores, and how sure we are                          notebook 05
    tasks       the four tasks: loader, prompt, check, score         notebooks 01 to 08
    decision    the ordered questions, the cost model                notebooks 00 and 09
    scale       Ray, Qdrant, several processes                       notebook 10
    lab         what makes it a course: claims, figures, explorers   every notebook
    project     your own documents: questions, report, saved runs    notebook 05
    grade       exercises, sandbox, gradebook                        every notebook

Below all of them lies ``files``: errors, the cache folder, safe writing. The names listed in
``__all__`` can be imported from here; each is loaded when it is first used.

Example:
    >>> from course_utils import BM25Retriever, Pipeline, chunk_documents
    >>> from course_utils import load_embedder, load_generator, read_folder
    >>> nodes = chunk_documents(read_folder("docs"), load_embedder().tokenizer)  # doctest: +SKIP
    >>> pipeline = Pipeline(BM25Retriever(nodes), reader=load_generator())  # doctest: +SKIP
    >>> pipeline.ask("How long are backups kept?")  # doctest: +SKIP
    Answer(text='30 days', page='backup.md', sureness=None)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time see __getattr__
    from course_utils.decision.deciding import decide
    from course_utils.evaluate.correctness import evaluate_answers
    from course_utils.evaluate.intervals import estimate, paired_difference
    from course_utils.evaluate.metrics import evaluate_retrieval
    from course_utils.generate.citing import cite
    from course_utils.generate.decoding import chat
    from course_utils.generate.pipeline import Pipeline
    from course_utils.generate.reading import CitingReader
    from course_utils.lab.claims import claim
    from course_utils.models.embedding import load_embedder
    from course_utils.models.generator import load_generator, load_reader
    from course_utils.project.beir import evaluate_beir, read_beir
    from course_utils.project.comparing import compare_runs
    from course_utils.search.chunking import chunk_documents
    from course_utils.search.documents import read_folder
    from course_utils.search.fusion import FusedRetriever
    from course_utils.search.late_interaction import LateInteraction
    from course_utils.search.reranking import CrossEncoder, RerankedRetriever
    from course_utils.search.retrieval import BM25Retriever, DenseRetriever
    from course_utils.tune.adapters import attached
    from course_utils.tune.recipes import Recipe
    from course_utils.tune.training import train

_HOMES = {
    "BM25Retriever": "search.retrieval",
    "CitingReader": "generate.reading",
    "CrossEncoder": "search.reranking",
    "DenseRetriever": "search.retrieval",
    "FusedRetriever": "search.fusion",
    "LateInteraction": "search.late_interaction",
    "Pipeline": "generate.pipeline",
    "Recipe": "tune.recipes",
    "RerankedRetriever": "search.reranking",
    "attached": "tune.adapters",
    "chat": "generate.decoding",
    "chunk_documents": "search.chunking",
    "cite": "generate.citing",
    "claim": "lab.claims",
    "compare_runs": "project.comparing",
    "decide": "decision.deciding",
    "estimate": "evaluate.intervals",
    "evaluate_answers": "evaluate.correctness",
    "evaluate_beir": "project.beir",
    "evaluate_retrieval": "evaluate.metrics",
    "load_embedder": "models.embedding",
    "load_generator": "models.generator",
    "load_reader": "models.generator",
    "paired_difference": "evaluate.intervals",
    "read_beir": "project.beir",
    "read_folder": "search.documents",
    "train": "tune.training",
}

__all__ = [
    "BM25Retriever",
    "CitingReader",
    "CrossEncoder",
    "DenseRetriever",
    "FusedRetriever",
    "LateInteraction",
    "Pipeline",
    "Recipe",
    "RerankedRetriever",
    "attached",
    "chat",
    "chunk_documents",
    "cite",
    "claim",
    "compare_runs",
    "decide",
    "estimate",
    "evaluate_answers",
    "evaluate_beir",
    "evaluate_retrieval",
    "load_embedder",
    "load_generator",
    "load_reader",
    "paired_difference",
    "read_beir",
    "read_folder",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: importing everything would take five seconds."""
    if name not in _HOMES:
        raise AttributeError(f"course_utils has no {name!r}; it has {', '.join(__all__)}.")
    value = getattr(import_module(f"course_utils.{_HOMES[name]}"), name)
    globals()[name] = value  # the next use finds it here
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

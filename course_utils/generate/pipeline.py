"""Question → hits → answer: retriever, reranker and reader in one object. Notebook 01."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore

from course_utils.files import InputError
from course_utils.generate.citing import Answer
from course_utils.generate.reading import Reader, read_with
from course_utils.models.generator import Endpoint, LanguageModel


class Pipeline:
    """Search, rerank, read: ask a question, get an answer with its page.

    Example:
        >>> pipeline = Pipeline(BM25Retriever(read_folder("docs")), reader=load_generator())
        ... # doctest: +SKIP
        >>> pipeline.ask("How long are backups kept?").page  # doctest: +SKIP
        'backup.md'
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        reranker: BaseNodePostprocessor | None = None,
        reader: Reader | LanguageModel | Endpoint | None = None,
        top_k: int = 3,
    ) -> None:
        """Put the three together.

        Args:
            retriever: any LlamaIndex retriever; its own top k says how many hits it brings.
            reranker: any LlamaIndex postprocessor; None leaves the hits in their order.
            reader: turns questions and hits into answers. A generator is wrapped in ``read_with``;
                without a reader the pipeline can only ``search``.
            top_k: hits the reader gets, the best first.

        Raises:
            InputError: ``top_k`` is below 1.
        """
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, not {top_k}.")
        self.retriever = retriever
        self.reranker = reranker
        if isinstance(reader, LanguageModel | Endpoint):
            reader = partial(read_with, reader)
        self.reader = reader
        self.top_k = top_k

    def search(self, question: str) -> list[NodeWithScore]:
        """The hits that the reader gets, the best first."""
        hits = self.retriever.retrieve(question)
        if self.reranker is not None:
            hits = self.reranker.postprocess_nodes(hits, query_str=question)
        return hits[: self.top_k]

    def ask(self, question: str) -> Answer:
        """Answer one question; see ``ask_all``."""
        return self.ask_all([question])[0]

    def ask_all(self, questions: Sequence[str]) -> list[Answer]:
        """Answer questions from their hits.

        Args:
            questions: n questions.

        Returns:
            n answers, each with the page it rests on.

        Raises:
            InputError: the pipeline has no reader.
        """
        if self.reader is None:
            raise InputError("This pipeline has no reader: pass one, such as load_generator().")
        return self.reader(questions, [self.search(question) for question in questions])

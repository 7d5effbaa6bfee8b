"""A second look at candidates: rerankers as LlamaIndex node postprocessors.

A retriever compares a question with vectors or words made beforehand; a reranker reads question and
candidate together, which is slower, so it reads only what the retriever found.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import MetadataFilters
from pydantic import Field, PrivateAttr
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize
from torch.nn.functional import normalize

from course_utils.cache import remembered, remembered_by
from course_utils.corpus import Question, page_of
from course_utils.files import InputError, cache_dir, replacing
from course_utils.models import Embedder, LanguageModel, load_cross_encoder, release_memory
from course_utils.retrieval import NodeRetriever, require_positive

DEFAULT_WEIGHTS = (0.5, 0.8)  # learned in notebook 04, on its train questions


class Reranker(BaseNodePostprocessor):
    """What all rerankers share: many questions at once, and pages judged by their best chunk."""

    top_k: int | None = None
    _chunks: dict[str, list[BaseNode]] = PrivateAttr()

    def __init__(self, chunks: Iterable[BaseNode] = (), top_k: int | None = None) -> None:
        """Set what a candidate stands for.

        Args:
            chunks: of all pages. A candidate is judged, and returned, as the best chunk of its
                page; one whose page has no chunks here, as itself.
            top_k: nodes kept; all when None.
        """
        require_positive("top_k", top_k)
        super().__init__(top_k=top_k)  # type: ignore[call-arg]
        self._chunks = defaultdict(list)
        for chunk in chunks:
            self._chunks[page_of(chunk)].append(chunk)

    @classmethod
    def class_name(cls) -> str:
        return cls.__name__

    def rerank(
        self,
        questions: Sequence[str],
        rankings: Sequence[Sequence[NodeWithScore]],
        top_k: int | None = None,
    ) -> list[list[NodeWithScore]]:
        """Put each question's candidates into a new order.

        Args:
            questions: n questions.
            rankings: n lists of candidates, the best first.
            top_k: nodes kept; default the reranker's.

        Returns:
            n lists, the best first, with the reranker's scores; of equals the one that was first.

        Raises:
            InputError: ``top_k`` is below 1.
        """
        require_positive("top_k", top_k)
        judged = [self.judge(*pair) for pair in zip(questions, rankings, strict=True)]
        keep = top_k or self.top_k
        return [sorted(hits, key=lambda hit: -hit.get_score())[:keep] for hits in judged]

    def judge(self, question: str, hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        """The candidates in their old order, each as its best chunk and with its new score."""
        groups = [self._chunks.get(page_of(hit.node)) or [hit.node] for hit in hits]
        nodes = [node for group in groups for node in group]
        scores = iter(self._score(question, nodes) if nodes else ())
        best = []
        for group in groups:
            pairs = [(float(next(scores)), node) for node in group]
            score, node = max(pairs, key=lambda pair: pair[0])
            best.append(NodeWithScore(node=node, score=score))
        return best

    def _score(self, question: str, nodes: list[BaseNode]) -> Sequence[float] | np.ndarray:
        raise NotImplementedError

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("A reranker needs the question: pass query_str or query_bundle.")
        return self.rerank([query_bundle.query_str], [nodes])[0]


class LateInteraction(Reranker):
    """MaxSim (ColBERT: Khattab and Zaharia, 2020) over an embedder's token vectors.

    Each token of the question looks for the most similar token of the passage, and the passage
    scores the mean of these cosines. When there are ``chunks``, a token counts the more the fewer
    of them hold it, by BM25's formula; [CLS] and [SEP] never count.
    """

    _embedder: Embedder = PrivateAttr()
    _remember: bool = PrivateAttr()
    _holders: Counter[int] = PrivateAttr()
    _total: int = PrivateAttr()
    _change: torch.Tensor | None = PrivateAttr(default=None)
    _vectors: dict[str, torch.Tensor] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        embedder: Embedder,
        chunks: Sequence[BaseNode] = (),
        top_k: int | None = None,
        remember: bool = True,
    ) -> None:
        """Count how rare each token is; see ``Reranker``.

        ``remember`` keeps the passages' token vectors in the cache folder too; not where one
        measures how long embedding takes.
        """
        super().__init__(chunks, top_k)
        self._embedder = embedder
        self._remember = remember
        self._total = len(chunks)
        self._holders = Counter()
        for chunk in chunks:
            self._holders.update(set(embedder.tokenizer(embedded_text(chunk))["input_ids"]))

    def token_weights(self, question: str) -> torch.Tensor:
        """How much each token of a question counts: (tokens,), with sum 1."""
        tokenizer = self._embedder.tokenizer
        ids = self._ids([question])["input_ids"][0]
        holders = torch.tensor([float(self._holders[i]) for i in ids])
        rarity = torch.log(1 + (self._total - holders + 0.5) / (holders + 0.5))
        real = torch.tensor([float(i not in tokenizer.all_special_ids) for i in ids])
        weights = real * (rarity if self._total else 1)
        return weights / weights.sum().clamp(min=1e-9)

    @torch.inference_mode()
    def token_vectors(self, texts: Sequence[str], batch: int = 16) -> list[torch.Tensor]:
        """One vector of length 1 for each token of each text: n times (tokens, dimension)."""
        if not texts:
            return []
        encoded = self._ids(texts)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(texts)), key=lambda i: -lengths[i])
        vectors: list[Any] = [None] * len(texts)
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            each = {name: [values[i] for i in some] for name, values in encoded.items()}
            padded = self._embedder.tokenizer.pad(each, return_tensors="pt")
            hidden = normalize(self._embedder.transformer(**padded).last_hidden_state, dim=-1)
            for i, rows in zip(some, hidden, strict=True):
                vectors[i] = rows[: lengths[i]].clone()
        return vectors

    def _ids(self, texts: Sequence[str]) -> Any:
        limit = self._embedder.max_tokens
        return self._embedder.tokenizer(list(texts), truncation=True, max_length=limit)

    def _score(self, question: str, nodes: list[BaseNode]) -> np.ndarray:
        asked = self.token_vectors([question])[0]
        if self._change is not None:
            asked = normalize(asked + asked @ self._change, dim=-1)
        passages = self._passages(nodes)
        return max_sim(asked, passages, self.token_weights(question)).numpy()

    def _passages(self, nodes: Sequence[BaseNode], limit: int = 3000) -> list[torch.Tensor]:
        """Token vectors of nodes; the last ``limit`` nodes' stay in memory. In 16 bits."""
        keys = [node.hash for node in nodes]
        pairs = zip(keys, nodes, strict=True)
        new = {key: embedded_text(node) for key, node in pairs if key not in self._vectors}
        self._vectors |= zip(new, self._stored(list(new.values())), strict=True)
        found = [self._vectors[key] for key in keys]
        for key in list(self._vectors)[:-limit]:
            del self._vectors[key]
        return found

    def _stored(self, texts: list[str]) -> list[torch.Tensor]:
        """``token_vectors`` in 16 bits, read from disk where they have been computed before."""

        def compute(places: Sequence[int]) -> list[bytes]:
            made = self.token_vectors([texts[place] for place in places])
            return [vectors.half().numpy().tobytes() for vectors in made]

        keys = [f"{self._embedder.fingerprint} {text}" for text in texts]
        every = range(len(texts))
        found = remembered("tokens", keys, compute) if self._remember else compute(every)
        width = self._embedder.transformer.config.hidden_size
        return [torch.frombuffer(bytearray(one), dtype=torch.half).view(-1, width) for one in found]

    def forget(self) -> None:
        """Free the memory of the remembered vectors, those of tuned copies included."""
        self._vectors.clear()

    def tune(
        self,
        questions: Sequence[Question],
        rankings: Sequence[Sequence[NodeWithScore]],
        epochs: int = 8,
        rate: float = 3e-4,
    ) -> LateInteraction:
        """Learn a linear layer on the question's token vectors; the passages' stay as they are.

        The layer starts as the identity. For each question the graded pages should stand out
        among its candidates (softmax cross-entropy over scores / 0.03). The result is kept in the
        cache folder under a hash of all that goes into it.

        Args:
            questions: with grades; one without a graded candidate teaches nothing.
            rankings: their candidates, best first: what is not graded among the first 20 are the
                hard negatives.
            epochs: passes over the questions.
            rate: Adam's step.

        Returns:
            A tuned copy.
        """
        tuned = LateInteraction(self._embedder, (), self.top_k)
        for name in ("_chunks", "_holders", "_remember", "_total", "_vectors"):
            setattr(tuned, name, getattr(self, name))
        pairs = zip(questions, rankings, strict=True)
        seen = [(q.text, q.grades, [hit.node.hash for hit in hits]) for q, hits in pairs]
        rarity = (self._total, sorted(self._holders.items()))  # what ``token_weights`` depends on
        everything = repr((self._embedder.fingerprint, rarity, epochs, rate, seen))
        digest = hashlib.sha256(everything.encode()).hexdigest()[:16]
        path = cache_dir() / f"late-{digest}.safetensors"
        if not path.is_file():
            tuned._change = self._learn(questions, rankings, epochs, rate)
            tuned.save(path)
        return tuned.load(path)

    def _learn(self, questions: Any, rankings: Any, epochs: int, rate: float) -> torch.Tensor:
        examples = []
        for question, hits in zip(questions, rankings, strict=True):
            grades = [question.grades.get(page_of(hit.node), 0) for hit in hits]
            kept = [i for i, grade in enumerate(grades) if i < 20 or grade]
            wanted = torch.tensor([float(grades[i]) for i in kept])
            if wanted.sum() > 0:
                asked = self.token_vectors([question.text])[0].clone()
                passages = self._passages([hits[i].node for i in kept])
                weights = self.token_weights(question.text)
                examples.append((asked, weights, passages, wanted / wanted.sum()))
        change = torch.zeros(2 * (self._embedder.transformer.config.hidden_size,)).requires_grad_()
        adam = torch.optim.Adam([change], lr=rate)
        draw = np.random.default_rng(0)
        for _ in range(epochs):
            for i in draw.permutation(len(examples)):
                asked, weights, passages, target = examples[i]
                moved = normalize(asked + asked @ change, dim=-1)
                scores = max_sim(moved, passages, weights) / 0.03
                adam.zero_grad()
                (-(target * scores.log_softmax(0)).sum()).backward()
                adam.step()
        return change.detach()

    def save(self, path: Path) -> None:
        """Write the learned layer."""
        if self._change is None:
            raise InputError("There is nothing to save: this reranker is not tuned.")
        with replacing(path) as partial:
            save_file({"change": self._change.contiguous()}, partial)

    def load(self, path: Path) -> Self:
        """Read what ``save`` wrote into this reranker."""
        self._change = load_file(path)["change"]
        return self


def max_sim(
    asked: torch.Tensor, passages: Sequence[torch.Tensor], weights: torch.Tensor
) -> torch.Tensor:
    """The weighted sum, over a question's tokens, of the best cosine in each passage.

    Args:
        asked: (q, dimension), rows of length 1.
        passages: m times (tokens, dimension), rows of length 1.
        weights: (q,).

    Returns:
        (m,) scores.
    """
    # A passage at a time stays in the processor's cache: twice as fast as all in one product.
    best = [(asked @ passage.float().T).amax(dim=1) for passage in passages]
    return weights @ torch.stack(best, dim=1)


class QueryLikelihood(Reranker):
    """log p(question | passage) under a language model, without training.

    The idea is Ponte and Croft's (1998), with a pretrained model in place of word counts as in
    Sachan et al. (2022). One forward pass a candidate: keep them few and short.
    """

    _llm: LanguageModel = PrivateAttr()

    def __init__(
        self, llm: LanguageModel, chunks: Sequence[BaseNode] = (), top_k: int | None = None
    ) -> None:
        """See ``Reranker``; candidates judged as all their chunks take as many passes."""
        super().__init__(chunks, top_k)
        self._llm = llm

    def _score(self, question: str, nodes: list[BaseNode]) -> Sequence[float]:
        def compute(llm: LanguageModel, prompts: Sequence[str]) -> list[float]:
            some = [prompts[i : i + 4] for i in range(0, len(prompts), 4)]
            scores = [score for few in some for score in likelihoods(llm, question, few)]
            release_memory()  # passes of ever new shapes would scatter the heap
            return scores

        prompts = [reading_prompt(node, self._llm.tokenizer) for node in nodes]
        if self._llm.remember:
            return remembered_by(self._llm, ["likelihood", question], prompts, compute)
        return compute(self._llm, prompts)


@torch.inference_mode()
def likelihoods(llm: LanguageModel, question: str, prompts: Sequence[str]) -> list[float]:
    """The mean log-probability, in nats, of a question's tokens behind each prompt."""
    before = [llm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
    asked = llm.tokenizer(question, add_special_tokens=False)["input_ids"]
    padded = llm.tokenizer.pad({"input_ids": [ids + asked for ids in before]}, return_tensors="pt")
    mask = padded["attention_mask"]  # padding stands on the left
    places = (mask.cumsum(1) - 1).clamp(min=0)
    read = llm.model(**padded, position_ids=places, logits_to_keep=len(asked) + 1, use_cache=False)
    logprobs = read.logits[:, :-1].float().log_softmax(-1)
    wanted = torch.tensor(asked).expand(len(prompts), -1).unsqueeze(2)
    return logprobs.gather(2, wanted).squeeze(2).mean(1).tolist()


def reading_prompt(node: BaseNode, tokenizer: Any = None) -> str:
    """What the model reads before the question: the passage with its title.

    Args:
        node: the passage.
        tokenizer: the model's, whose chat template is used, or plain text where it has none. By
            default the prompt is in the format of SmolLM2, the course's generator.
    """
    passage = f"{node.metadata.get('title', '')}\n{node.get_content().strip()}"
    asked = f"Passage: {passage}\n\nWrite a question that this passage answers."
    if tokenizer is None:
        return f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    if not tokenizer.chat_template:
        return f"{tokenizer.bos_token or ''}{asked}\n"
    return _first_turn(tokenizer, {"role": "user", "content": asked})


def _first_turn(tokenizer: Any, message: dict[str, str]) -> str:
    """A user's message as a chat's first turn, without a system message of the template's own.

    Such a message ("You are a helpful assistant …") says nothing about a passage, and every
    candidate would pay for its tokens.
    """
    earlier = [message, {"role": "assistant", "content": "Yes."}]
    before = tokenizer.apply_chat_template(earlier, tokenize=False)
    render = partial(tokenizer.apply_chat_template, add_generation_prompt=True, tokenize=False)
    turn, whole = render([*earlier, message]).removeprefix(before), render([message])
    if not whole.endswith(turn):  # this template writes later turns differently
        return whole
    first = tokenizer.bos_token or ""
    return first + turn if whole.startswith(first) and not turn.startswith(first) else turn


class CrossEncoder(Reranker):
    """A model trained to read question and passage together, from the hub or a folder."""

    _model: Any = PrivateAttr()
    _tokenizer: Any = PrivateAttr()

    def __init__(
        self, name: str | None = None, chunks: Sequence[BaseNode] = (), top_k: int | None = None
    ) -> None:
        """Load the model; see ``models.load_cross_encoder`` and ``Reranker``."""
        super().__init__(chunks, top_k)
        self._model, self._tokenizer = load_cross_encoder(name)

    @torch.inference_mode()
    def _score(self, question: str, nodes: list[BaseNode]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(nodes), 8):
            texts = [embedded_text(node) for node in nodes[start : start + 8]]
            pairs = self._tokenizer(
                [question] * len(texts),
                texts,
                truncation="only_second",
                max_length=min(self._tokenizer.model_max_length, 512),
                padding=True,
                return_tensors="pt",
            )
            scores += self._model(**pairs).logits[:, -1].tolist()
        return scores


class LearnedMix(Reranker):
    """A weighted sum of what the retriever and other rerankers say.

    Each score is standardised over the question's candidates, so that scales do not matter.
    """

    parts: list[Reranker] = Field(default_factory=list)
    weights: list[float] = Field(default_factory=list)

    def __init__(
        self, parts: Sequence[Reranker], weights: Sequence[float], top_k: int | None = None
    ) -> None:
        """Set the mix.

        Args:
            parts: rerankers, each of which judges the nodes that the one before it chose.
            weights: one for the candidates' own scores and one for each part.
            top_k: see ``Reranker``.
        """
        if len(weights) != 1 + len(parts):
            raise InputError(f"{len(parts)} parts need {1 + len(parts)} weights: not {weights}.")
        super().__init__(top_k=top_k)
        self.parts = list(parts)
        self.weights = [float(weight) for weight in weights]

    def features(
        self, question: str, hits: Sequence[NodeWithScore]
    ) -> tuple[list[NodeWithScore], np.ndarray]:
        """The chosen nodes and their standardised scores, (candidates, 1 + parts)."""
        chosen, columns = list(hits), [[hit.get_score() for hit in hits]]
        for part in self.parts:
            chosen = part.judge(question, chosen)
            columns.append([hit.get_score() for hit in chosen])
        raw = np.array(columns).T
        return chosen, (raw - raw.mean(axis=0)) / np.maximum(raw.std(axis=0), 1e-9)

    def judge(self, question: str, hits: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        if not hits:
            return []
        chosen, table = self.features(question, hits)
        pairs = zip(chosen, table @ np.array(self.weights), strict=True)
        return [NodeWithScore(node=hit.node, score=float(score)) for hit, score in pairs]

    @classmethod
    def fit(
        cls,
        parts: Sequence[Reranker],
        questions: Sequence[Question],
        rankings: Sequence[Sequence[NodeWithScore]],
        l2: float = 0.003,
    ) -> Self:
        """Learn the weights: logistic regression on pairs of a better and a worse candidate.

        Args:
            parts: see ``LearnedMix``.
            questions: with grades; a pair counts by the difference of its grades.
            rankings: their candidates.
            l2: strength of the pull towards 0.
        """
        blank = cls(parts, [0.0] * (1 + len(parts)))
        differences, counts = [], []
        for question, hits in zip(questions, rankings, strict=True):
            grades = np.array([question.grades.get(page_of(hit.node), 0) for hit in hits])
            if np.unique(grades).size < 2:
                continue
            table = blank.features(question.text, hits)[1]
            for better in np.flatnonzero(grades):
                worse = np.flatnonzero(grades < grades[better])
                differences.append(table[better] - table[worse])
                counts.append((grades[better] - grades[worse]) / max(worse.size, 1))
        if not differences:
            raise InputError("There is nothing to learn from: no graded page is a candidate.")
        return cls(parts, _logistic(np.concatenate(differences), np.concatenate(counts), l2))


def _logistic(rows: np.ndarray, counts: np.ndarray, l2: float) -> list[float]:
    """The weights w that make rows @ w positive, by weighted logistic loss."""
    share = counts / counts.sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = rows @ w
        slope = -share / (1 + np.exp(margin))
        return share @ np.logaddexp(0, -margin) + l2 * w @ w, slope @ rows + 2 * l2 * w

    return minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x.tolist()


class RerankedRetriever(NodeRetriever):
    """A retriever with a reranker behind it."""

    def __init__(
        self,
        retriever: NodeRetriever,
        reranker: Reranker,
        top_k: int = 5,
        filters: MetadataFilters | None = None,
        depth: int = 50,
    ) -> None:
        """Put them together.

        Args:
            retriever: finds the candidates.
            reranker: orders them.
            top_k: see ``search``, like ``filters``.
            depth: candidates that are reranked; what is found below them stays below.
        """
        super().__init__(top_k, filters)
        require_positive("depth", depth)
        self.retriever = retriever
        self.reranker = reranker
        self.depth = depth

    def _rank(
        self, questions: list[str], top_k: int, filters: MetadataFilters | None
    ) -> Iterable[list[NodeWithScore]]:
        found = self.retriever.search(questions, max(self.depth, top_k), filters)
        heads = [hits[: self.depth] for hits in found]
        reranked = self.reranker.rerank(questions, heads, self.depth)
        for hits, head in zip(found, reranked, strict=True):
            rest = hits[self.depth :]
            floor = head[-1].get_score() if head else 0.0
            tail = [NodeWithScore(node=h.node, score=floor - i) for i, h in enumerate(rest, 1)]
            yield [*head, *tail][:top_k]


def default(embedder: Embedder, chunks: Sequence[BaseNode] = ()) -> LearnedMix:
    """The course's reranker: the retriever's score and late interaction, weighed in notebook 04."""
    return LearnedMix([LateInteraction(embedder, chunks)], DEFAULT_WEIGHTS)


def embedded_text(node: BaseNode) -> str:
    """Title and text as the embedder reads them."""
    return node.get_content(MetadataMode.EMBED)

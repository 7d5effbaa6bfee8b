"""Train the small parts of reranking: mixing weights, and a layer for late interaction.

Notebook 04. Both need graded questions and their candidates, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from llama_index.core.schema import NodeWithScore
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize
from torch.nn.functional import normalize

from course_utils.files import InputError, cache_dir, replacing
from course_utils.search.documents import Question, page_of
from course_utils.search.late_interaction import LateInteraction, max_sim
from course_utils.search.mixing import LearnedMix
from course_utils.search.reranking import Reranker

Rankings = Sequence[Sequence[NodeWithScore]]


def fit_mix(
    parts: Sequence[Reranker],
    questions: Sequence[Question],
    rankings: Rankings,
    l2: float = 0.003,
) -> LearnedMix:
    """Learn mixing weights: logistic regression on pairs of a better and a worse candidate.

    Args:
        parts: see ``LearnedMix``.
        questions: n questions with grades; a pair counts by the difference of its grades.
        rankings: the candidates of each.
        l2: strength of the pull towards 0.

    Raises:
        InputError: no graded page is among the candidates.
    """
    blank = LearnedMix(parts, [0.0] * (1 + len(parts)))
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
    return LearnedMix(parts, _logistic(np.concatenate(differences), np.concatenate(counts), l2))


def _logistic(rows: np.ndarray, counts: np.ndarray, l2: float) -> list[float]:
    """The weights w that make rows @ w positive, by weighted logistic loss."""
    share = counts / counts.sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = rows @ w
        slope = -share / (1 + np.exp(margin))
        return share @ np.logaddexp(0, -margin) + l2 * w @ w, slope @ rows + 2 * l2 * w

    return minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x.tolist()


def tune_late_interaction(
    reranker: LateInteraction,
    questions: Sequence[Question],
    rankings: Rankings,
    epochs: int = 8,
    rate: float = 3e-4,
) -> LateInteraction:
    """Learn a linear layer on the question's token vectors; the passages' stay as they are.

    The layer starts as the identity. For each question the graded pages should stand out
    among its candidates (softmax cross-entropy over scores / 0.03). The result is kept in the
    cache folder under a hash of all that goes into it.

    Args:
        reranker: is not changed.
        questions: with grades; one without a graded candidate teaches nothing.
        rankings: their candidates, best first: what is not graded among the first 20 are the
            hard negatives.
        epochs: passes over the questions.
        rate: Adam's step.

    Returns:
        A tuned copy.
    """
    pairs = zip(questions, rankings, strict=True)
    seen = [(q.text, q.grades, [hit.node.hash for hit in hits]) for q, hits in pairs]
    everything = repr((reranker.fingerprint(), epochs, rate, seen))
    digest = hashlib.sha256(everything.encode()).hexdigest()[:16]
    path = cache_dir() / f"late-{digest}.safetensors"
    if not path.is_file():
        change = _learn(reranker, questions, rankings, epochs, rate)
        with replacing(path) as partial:
            save_file({"change": change.contiguous()}, partial)
    return reranker.with_layer(load_file(path)["change"])


def _learn(
    reranker: LateInteraction,
    questions: Sequence[Question],
    rankings: Rankings,
    epochs: int,
    rate: float,
) -> torch.Tensor:
    examples = []
    for question, hits in zip(questions, rankings, strict=True):
        grades = [question.grades.get(page_of(hit.node), 0) for hit in hits]
        kept = [i for i, grade in enumerate(grades) if i < 20 or grade]
        wanted = torch.tensor([float(grades[i]) for i in kept])
        if wanted.sum() > 0:
            asked = reranker.token_vectors([question.text])[0].clone()  # (q tokens, dimension)
            passages = reranker.passage_vectors([hits[i].node for i in kept])
            weights = reranker.token_weights(question.text)  # (q tokens,)
            examples.append((asked, weights, passages, wanted / wanted.sum()))
    size = reranker.dimension
    change = torch.zeros(size, size).requires_grad_()
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

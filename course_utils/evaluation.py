"""Measuring: retrieval metrics, answer metrics, and how sure one can be of a difference."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pytrec_eval
from llama_index.core.schema import NodeWithScore

from course_utils.corpus import CorpusError, Question, Span, page_of, read_beir, span_of
from course_utils.files import InputError, write_text
from course_utils.generation import Answer
from course_utils.models import Embedder
from course_utils.reranking import RerankedRetriever, default
from course_utils.retrieval import BM25Retriever, DenseRetriever, FusedRetriever, NodeRetriever

# --- retrieval ------------------------------------------------------------------------------------


def page_run(found: Sequence[NodeWithScore]) -> dict[str, float]:
    """A ranking of pages out of a ranking of nodes: a page scores as its best node.

    Args:
        found: retrieved nodes, higher scores better.
    """
    run: dict[str, float] = {}
    for hit in found:
        page = page_of(hit.node)
        run[page] = max(hit.get_score(), run.get(page, -np.inf))
    return run


def retrieval_scores(
    runs: Mapping[str, Mapping[str, float]],
    questions: Sequence[Question],
    metrics: Sequence[str] = ("recall_5", "recip_rank", "ndcg_cut_10"),
    least_grade: int | None = None,
) -> dict[str, np.ndarray]:
    """Score rankings with trec_eval's own code (pytrec_eval: Van Gysel and de Rijke, 2018).

    Args:
        runs: question id to {document id: score}; a missing or empty one scores 0.
        questions: those with grades; the others are left out.
        metrics: trec_eval names, such as "recall_5" or "ndcg_cut_10".
        least_grade: the lowest grade that counts as relevant for binary metrics such as recall.
            By default 2, as in the handbook, where 1 only means related; or 1, where no question
            has a grade above 1 (most BEIR collections). Pass 1 for a graded collection in which
            every grade above 0 is relevant, as BEIR counts them.

    Returns:
        For each metric the scores of the judged questions, in their order.
    """
    judged = [question for question in questions if question.grades]
    if least_grade is None:
        highest = max((max(question.grades.values()) for question in judged), default=2)
        least_grade = 2 if highest >= 2 else 1
    # trec_eval fills its cut-offs by family; asking for "recall.5" gives "recall_5".
    wanted = {re.sub(r"_(\d+)$", r".\1", metric) for metric in metrics}
    evaluator = pytrec_eval.RelevanceEvaluator(
        {question.id: question.grades for question in judged}, wanted, relevance_level=least_grade
    )
    scores = evaluator.evaluate({q.id: dict(runs.get(q.id, {})) for q in judged})
    return {
        metric: np.array([scores.get(question.id, {}).get(metric, 0.0) for question in judged])
        for metric in metrics
    }


def evaluate(
    retriever: NodeRetriever,
    questions: Sequence[Question],
    metrics: Sequence[str] = ("ndcg_cut_10", "recall_10"),
    depth: int = 100,
    least_grade: int | None = None,
) -> dict[str, np.ndarray]:
    """Search, and score the rankings of pages; see ``retrieval_scores``.

    Args:
        retriever: what to score.
        questions: those with grades are scored.
        metrics: trec_eval names.
        depth: nodes asked for; enough that more than the metrics' pages are among them.
        least_grade: see ``retrieval_scores``.
    """
    judged = [question for question in questions if question.grades]
    found = retriever.search([question.text for question in judged], depth)
    runs = {}
    for question, hits in zip(judged, found, strict=True):
        runs[question.id] = page_run(hits)
        runs[question.id].pop(question.id, None)  # BEIR: a question may be a document too
    return retrieval_scores(runs, judged, metrics, least_grade)


def evaluate_beir(
    folder: Path | str, embedder: Embedder, split: str = "test"
) -> dict[str, np.ndarray]:
    """BM25, dense search, their fusion, and that reranked, on a collection in the BEIR format.

    Whole documents are indexed; a question that is a document too does not find itself.

    Args:
        folder: see ``read_beir``, like ``split``.
        embedder: reads as much of a document as it can; one without token vectors (no
            ``models.Embedder``) cannot rerank.

    Returns:
        For "BM25", "dense", "fused" and "reranked" the nDCG@10 of each question.
    """
    documents, questions = read_beir(folder, split)
    bm25, dense = BM25Retriever(documents), DenseRetriever(documents, embedder)
    fused = FusedRetriever([bm25, dense])
    arms: dict[str, NodeRetriever] = {"BM25": bm25, "dense": dense, "fused": fused}
    if isinstance(embedder, Embedder):
        arms["reranked"] = RerankedRetriever(fused, default(embedder, documents), depth=20)
    metric = "ndcg_cut_10"
    return {name: evaluate(arm, questions, [metric])[metric] for name, arm in arms.items()}


def gold_coverage(found: Sequence[NodeWithScore], gold: Sequence[Span]) -> float:
    """The share of gold characters that stand in the retrieved nodes, 0 to 1.

    Args:
        found: retrieved nodes: chunks with offsets into their pages, or whole pages.
        gold: the spans that answer the question, at least one.
    """
    covered = total = 0
    for span in gold:
        wanted = np.zeros(span.end - span.start, dtype=bool)
        for hit in found:
            if page_of(hit.node) == span.page:
                place = span_of(hit.node)
                wanted[max(place.start - span.start, 0) : max(place.end - span.start, 0)] = True
        covered += int(wanted.sum())
        total += len(wanted)
    return covered / total


def gold_iou(found: Sequence[NodeWithScore], gold: Sequence[Span]) -> float:
    """Intersection over union of retrieved and gold characters, as Chroma's chunking evaluation.

    Text that overlapping nodes bring twice counts twice in what was retrieved (Smith and
    Troynikov, 2024), so that it costs what it costs in a prompt.
    """
    wanted = sum(span.end - span.start for span in gold)
    shared = gold_coverage(found, gold) * wanted
    places = [span_of(hit.node) for hit in found]
    read = sum(place.end - place.start for place in places)
    return shared / (read + wanted - shared)


def bears_answer(found: Sequence[NodeWithScore], question: Question) -> bool:
    """Whether a retrieved node holds the right answer in the place that answers the question.

    That place is the question's last gold span: the node must overlap it and hold the answer, or
    an accepted variant, as whole words.
    """
    near = [hit for hit in found if gold_coverage([hit], question.gold[-1:])]
    return any(is_correct(Answer(hit.node.get_content()), question) for hit in near)


# --- answers --------------------------------------------------------------------------------------


def normalise(text: str) -> list[str]:
    """Lower-case words and numbers; "12,000" is 12000, and articles and punctuation go."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.lower())
    return [word for word in re.findall(r"\d+\.\d+|\w+", text) if word not in ("a", "an", "the")]


def is_correct(answer: Answer, question: Question) -> bool:
    """Whether an answer contains the right one, or an accepted variant of it, as whole words."""
    said = normalise(answer.text)
    for variant in (question.answer, *question.accepted):
        wanted = normalise(variant)
        starts = range(len(said) - len(wanted) + 1)
        if wanted and any(said[i : i + len(wanted)] == wanted for i in starts):
            return True
    return False


def exact_match(answer: Answer, question: Question) -> bool:
    """Whether an answer is the right one, or an accepted variant of it, and nothing else."""
    said = normalise(answer.text)
    return bool(said) and said in [normalise(v) for v in (question.answer, *question.accepted)]


def cites_gold(answer: Answer, question: Question) -> bool:
    """Whether the page an answer points at is one that answers the question."""
    return answer.page in {span.page for span in question.gold}


def token_f1(text: str, right: str) -> float:
    """Word overlap with the right answer, 0 to 1, as SQuAD counts it (Rajpurkar et al., 2016)."""
    said, wanted = Counter(normalise(text)), Counter(normalise(right))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def citations(answers: Sequence[Answer], questions: Sequence[Question]) -> dict[str, np.ndarray]:
    """Citation precision and recall, as the 0s and 1s they are the means of.

    Returns:
        "precision": for each answer that cites a page, whether that page answers the question;
        "recall": for each answerable question, whether its answer cites such a page.
    """
    pairs = list(zip(answers, questions, strict=True))
    return {
        "precision": np.array([cites_gold(a, q) for a, q in pairs if a.page is not None], float),
        "recall": np.array([cites_gold(a, q) for a, q in pairs if q.answerable], float),
    }


def refusals(answers: Sequence[Answer], questions: Sequence[Question]) -> dict[str, np.ndarray]:
    """Refusal precision and recall, as the 0s and 1s they are the means of.

    Returns:
        "precision": for each refusal, whether the question is unanswerable; "recall": for each
        unanswerable question, whether it was refused.
    """
    pairs = list(zip(answers, questions, strict=True))
    return {
        "precision": np.array([not q.answerable for a, q in pairs if a.refused], float),
        "recall": np.array([a.refused for a, q in pairs if not q.answerable], float),
    }


CAUSES = ("not retrieved", "not ranked in", "read wrongly", "refused wrongly", "format")


def cause(
    answer: Answer,
    question: Question,
    retrieved: Sequence[NodeWithScore],
    shown: int | None = None,
    right: Callable[[Answer, Question], bool] = is_correct,
) -> str | None:
    """The first step of the system that failed: one of ``CAUSES``, None for a right answer.

    Args:
        answer: what was said; a refusal is right when the question is unanswerable.
        question: what was asked.
        retrieved: the candidates, the best first.
        shown: how many of them the reader had before it; all, when None.
        right: what counts as right; with ``exact_match`` a right answer in a longer sentence is
            "format", as are the right letters and digits in other words ("TID584" for "TID-584").
    """
    if not question.answerable:
        return None if answer.refused else "read wrongly"
    if right(answer, question):
        return None
    said = "".join(normalise(answer.text))
    variants = ("".join(normalise(v)) for v in (question.answer, *question.accepted))
    if any(variant and variant in said for variant in variants):
        return "format"
    if not bears_answer(retrieved, question):
        return "not retrieved"
    if not bears_answer(retrieved[:shown], question):
        return "not ranked in"
    return "refused wrongly" if answer.refused else "read wrongly"


# --- how sure -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` questions with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: Sequence[float] | np.ndarray, draws: int = 10_000, seed: int = 0) -> Estimate:
    """The mean of one number a question, and its 95 % interval.

    Shares (values that are all 0 or 1) get Wilson's score interval (1927): a bootstrap of 0 right
    answers out of 136 would claim to be certain. Everything else gets the percentile bootstrap
    (Efron and Tibshirani, 1993).

    Args:
        values: n numbers or truth values; for two systems compared on the same questions pass the
            differences, which makes the bootstrap paired.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: there are no values.
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0:
        raise InputError("There is nothing to average: the list of values is empty.")
    if np.isin(numbers, (0, 1)).all():
        return _wilson(numbers)
    return _bootstrap(numbers, draws, seed)


def _wilson(values: np.ndarray, z: float = 1.96) -> Estimate:
    share, n = float(values.mean()), values.size
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At a share of 0 or 1 rounding could leave it outside its own interval.
    return Estimate(
        share, max(min(centre - half, share), 0.0), min(max(centre + half, share), 1.0), n
    )


def _bootstrap(values: np.ndarray, draws: int = 10_000, seed: int = 0) -> Estimate:
    draw = np.random.default_rng(seed)
    means = np.empty(draws)
    rows = max(1, 1_000_000 // values.size)  # all draws at once take 1.1 GB for 7,000 questions
    for start in range(0, draws, rows):
        block = means[start : start + rows]
        picks = draw.integers(0, values.size, (block.size, values.size))
        block[:] = values[picks].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), values.size)


def paired_difference(
    after: Sequence[float] | np.ndarray, before: Sequence[float] | np.ndarray
) -> Estimate:
    """The mean of ``after - before`` on the same questions, with its paired bootstrap interval."""
    if len(after) != len(before):
        raise InputError(
            f"A paired comparison needs the same questions: {len(after)} and {len(before)}."
        )
    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    return _bootstrap(differences)


def cohen_kappa(one: Sequence[object], other: Sequence[object]) -> float:
    """Agreement of two judges beyond chance (Cohen, 1960): 1 is full, 0 what chance would give.

    0 too when both give every item the same label, where there is nothing to agree on.
    """
    if not one or len(one) != len(other):
        raise InputError(f"Kappa needs the same items: {len(one)} and {len(other)} labels.")
    n, a, b = len(one), Counter(one), Counter(other)
    observed = sum(x == y for x, y in zip(one, other, strict=True)) / n
    chance = sum(a[label] * b[label] for label in a) / n**2
    return (observed - chance) / (1 - chance) if chance < 1 else 0.0


# --- saved runs, and the gate between two of them -------------------------------------------------


def write_run(path: Path | str, runs: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Save rankings as trec_eval reads them: question, Q0, document, rank, score, name of the run.

    Columns are separated by blanks, so blanks inside an id are written as %20. A question without
    a document has no line.
    """
    lines = []
    for question, run in runs.items():
        ranked = sorted(run, key=lambda page: (run[page], page), reverse=True)
        for rank, page in enumerate(ranked, start=1):
            ids = _escaped(question), _escaped(page)
            lines.append(f"{ids[0]} Q0 {ids[1]} {rank} {run[page]!r} {_escaped(name)}\n")
    write_text(path, "".join(lines))


def read_run(path: Path | str) -> dict[str, dict[str, float]]:
    """Read a saved run: {question: {document: score}}.

    Raises:
        CorpusError: no such file, or a line without the six columns.
    """
    if not Path(path).is_file():
        raise CorpusError(f"There is no run {path}.")
    runs: dict[str, dict[str, float]] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            question, _, page, _, score, _ = line.split()
            runs.setdefault(unquote(question), {})[unquote(page)] = float(score)
        except ValueError as error:
            raise CorpusError(
                f"{path}, line {number}: expected question, Q0, document, rank, score and name."
            ) from error
    return runs


def _escaped(name: str) -> str:
    if not name:
        raise InputError("A run file has no place for an empty id.")
    return re.sub(r"[\s%]", lambda found: quote(found[0]), name)


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a change: "better", "worse" or "undecided", and the difference."""

    decision: str
    difference: Estimate

    def __str__(self) -> str:
        made = self.difference
        bounds = f"{made.value:+.3f} [{made.low:+.3f}, {made.high:+.3f}]"
        return f"{self.decision}: {bounds}, n = {made.n}"


def compare(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, least: float = 0.02
) -> Verdict:
    """Judge a change on the same questions.

    Args:
        before: one score a question.
        after: the same questions' scores after the change.
        least: the smallest mean difference that matters.

    Returns:
        "better" when the difference is at least that and its interval lies above zero, "worse"
        for the reverse, else "undecided": too small to matter, or too few questions to tell (five
        that changed or fewer always are).
    """
    made = paired_difference(after, before)
    changed = int((np.asarray(after, dtype=float) != np.asarray(before, dtype=float)).sum())
    # Five coins fall on one side in 1 of 16 throws: a bootstrap of so few would be too sure.
    if changed > 5 and made.low > 1e-9 and made.value >= least:
        return Verdict("better", made)
    if changed > 5 and made.high < -1e-9 and made.value <= -least:
        return Verdict("worse", made)
    return Verdict("undecided", made)

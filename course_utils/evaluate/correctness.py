"""Score answers, citations and refusals, and name the step that failed. Notebook 05."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from llama_index.core.schema import NodeWithScore

from course_utils.evaluate.metrics import gold_coverage
from course_utils.generate.citing import Answer
from course_utils.search.documents import Question, page_of


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


def token_f1(text: str, right: str) -> float:
    """Word overlap with the right answer, 0 to 1, as SQuAD counts it (Rajpurkar et al., 2016)."""
    said, wanted = Counter(normalise(text)), Counter(normalise(right))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def contains_answer(hits: Sequence[NodeWithScore], question: Question) -> bool:
    """Whether a retrieved node holds the right answer in the place that answers the question.

    That place is the question's last gold span: the node must overlap it and hold the answer, or
    an accepted variant, as whole words. Another page that answers may be cut anywhere.
    """
    others = answering_pages(question) - {span.page for span in question.gold}
    near = [
        hit
        for hit in hits
        if gold_coverage([hit], question.gold[-1:]) or page_of(hit.node) in others
    ]
    return any(is_correct(Answer(hit.node.get_content()), question) for hit in near)


def cites_gold(answer: Answer, question: Question) -> bool:
    """Whether the page an answer points at is one that answers the question."""
    return answer.page in answering_pages(question)


def answering_pages(question: Question) -> set[str]:
    """The pages with a gold span, and others that say the same (those of grade 2)."""
    pages = {span.page for span in question.gold}
    return pages | {page for page, grade in question.grades.items() if grade >= 2}


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


def evaluate_answers(
    answers: Sequence[Answer], questions: Sequence[Question]
) -> dict[str, np.ndarray]:
    """Score answers.

    Args:
        answers: n answers.
        questions: the n questions they belong to.

    Returns:
        "right" (a refusal is right if the question is unanswerable), "refused", "cites" (any page)
        and "cites gold" (a page that answers), each (n,) of 0s and 1s.
    """
    pairs = list(zip(answers, questions, strict=True))
    right = [is_correct(a, q) if q.answerable else a.refused for a, q in pairs]
    return {
        "right": np.array(right, float),
        "refused": np.array([a.refused for a, _ in pairs], float),
        "cites": np.array([a.page is not None for a, _ in pairs], float),
        "cites gold": np.array([cites_gold(a, q) for a, q in pairs], float),
    }


CAUSES = ("not retrieved", "not ranked in", "read wrongly", "refused wrongly", "format")


def cause(
    answer: Answer,
    question: Question,
    hits: Sequence[NodeWithScore],
    shown: int | None = None,
    right: Callable[[Answer, Question], bool] = is_correct,
) -> str | None:
    """The first step of the system that failed: one of ``CAUSES``, None for a right answer.

    Args:
        answer: what was said; a refusal is right when the question is unanswerable.
        question: what was asked.
        hits: the candidates, the best first.
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
    if not contains_answer(hits, question):
        return "not retrieved"
    if not contains_answer(hits[:shown], question):
        return "not ranked in"
    return "refused wrongly" if answer.refused else "read wrongly"

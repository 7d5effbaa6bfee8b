"""The handbook is neither trivial nor hopeless to search, and its card says how hard it is."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import numpy as np
import pytest
from building import built_part

from course_utils.evaluate.intervals import Estimate, paired_difference
from course_utils.files import DATASETS

# One worker embeds the pages, not each of them.
pytestmark = pytest.mark.xdist_group("handbook")
HANDBOOK = DATASETS / "handbook"
DECIMAL = re.compile(r"[+-]?\d+\.\d+")


@pytest.fixture(scope="module")
def card() -> ModuleType:
    spec = importlib.util.spec_from_file_location("handbook_card", HANDBOOK / "card.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def differences(card: ModuleType) -> dict[str, Estimate]:
    """By kind, on all splits: nDCG@10 of MiniLM minus that of BM25."""
    questions, bm25, dense = card.ndcg()
    kinds = np.array([question.kind for question in questions])
    return {kind: paired_difference(dense[kinds == kind], bm25[kinds == kind]) for kind in kinds}


def test_no_retriever_finds_nearly_all_or_nearly_nothing_on_test(card: ModuleType) -> None:
    questions, *systems = card.ndcg()
    test = np.array([question.split == "test" for question in questions])
    assert test.sum() == 136
    for scores in systems:
        assert 0.30 < scores[test].mean() < 0.90


def test_every_ranking_is_long_enough(card: ModuleType) -> None:
    questions, *_ = card.ndcg()
    assert len(questions) == 340
    assert min(len(run) for run in card.dense_runs(questions).values()) >= 10


def test_bm25_wins_a_kind_clearly(differences: dict[str, Estimate]) -> None:
    assert any(difference.high < 0 for difference in differences.values())


def test_minilm_wins_a_kind_clearly(differences: dict[str, Estimate]) -> None:
    assert any(difference.low > 0 for difference in differences.values())


def test_the_card_is_up_to_date(card: ModuleType) -> None:
    """Another processor may move a retrieval number by .01, and nothing else."""
    written, computed = built_part(HANDBOOK / "README.md").split("\n\n"), card.tables()
    assert len(written) == len(computed)
    for old, new in zip(written, computed, strict=True):
        if new.startswith("| nDCG@10"):
            numbers = [[float(n) for n in DECIMAL.findall(text)] for text in (old, new)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.0101)
            old, new = (DECIMAL.sub("#", text) for text in (old, new))
        assert old == new


def test_the_example_in_the_card_is_a_question() -> None:
    shown = re.search(r"(?s)```json\n(.*?)```", (HANDBOOK / "README.md").read_text("utf8"))
    assert shown is not None
    lines = (HANDBOOK / "questions.jsonl").read_text("utf8").splitlines()
    assert json.loads(shown[1]) in [json.loads(line) for line in lines]

"""A statistician's check of the ledger and the notebooks: what a reviewer would ask of each claim.

Nothing is computed again here; the notebooks' tests do that.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from course_utils.lab import verdicts
from course_utils.lab.ledger import Claim, load_ledger, load_statements, measured_claims

ROOT = Path(__file__).parents[2]
CLAIMS = measured_claims()
MEASURED = [c for c in CLAIMS if c.kind == "measured" and c.verdict != "not tested"]
FAMILIES = verdicts.load_margins()["families"]
MOST_ONCE = 0.2  # of the measured claims may be numbers measured once, without an interval
MOST_ALONE = 226  # the answerable test questions; more than these are repeated measurements
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def by_id(claim: Claim) -> str:
    return claim.id


def test_every_claim_has_an_id_of_its_own_that_belongs_to_a_statement() -> None:
    twice = [id for id, n in Counter(c.id for c in CLAIMS).items() if n > 1]
    assert not twice
    statements = load_statements()
    assert [c.id for c in CLAIMS if c.id.split(".")[0] not in statements] == []


@pytest.mark.parametrize("claim", CLAIMS, ids=by_id)
def test_a_claim_is_a_sentence_with_a_kind_and_a_verdict(claim: Claim) -> None:
    assert claim.kind in ("measured", "exact", "model")
    assert claim.verdict in verdicts.CLAIM_VERDICTS
    # A verb, a comparison or a number has to be in it: a noun phrase can be neither true nor false.
    assert len(claim.statement.split()) >= 4 and claim.statement[0].isupper()
    assert not claim.statement.endswith(".")
    if claim.kind == "exact":
        assert claim.interval is None and claim.verdict in ("supported", "against")
    if claim.verdict == "not tested":
        assert claim.note


@pytest.mark.parametrize("claim", MEASURED, ids=by_id)
def test_a_measured_claim_has_n_and_margin_and_its_verdict_follows(claim: Claim) -> None:
    assert claim.value is not None and claim.n and claim.margin is not None
    assert claim.margin == verdicts.load_margins()["margins"][claim.metric]
    low, high = claim.interval or (claim.value, claim.value)
    assert low <= claim.value <= high
    side, number = claim.reference.split()
    reference = float(number)
    assert claim.verdict == verdicts.compute_verdict(
        low, high, reference, claim.margin, side == "below"
    )
    assert claim.comparisons == verdicts.count_comparisons(claim.id)


def test_few_numbers_were_measured_only_once() -> None:
    once = [c.id for c in MEASURED if c.interval is None]
    assert len(once) <= MOST_ONCE * len(MEASURED), once


@pytest.mark.parametrize("claim", MEASURED, ids=by_id)
def test_repeated_measurements_name_their_cluster(claim: Claim) -> None:
    assert claim.cluster or claim.interval is None or (claim.n or 0) <= MOST_ALONE


def test_families_are_of_claims_that_exist() -> None:
    ids = {c.id for c in CLAIMS}
    assert {id for family in FAMILIES.values() for id in family} <= ids


def code_cells(path: Path) -> list[tuple[list[str], str]]:
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    return [
        (cell["metadata"].get("tags", []), "".join(cell["source"]))
        for cell in cells
        if cell["cell_type"] == "code"
    ]


TEST_SPLIT = re.compile(r"""load_\w+\(\s*["']test["']|held_out=True|by_split\(["']test""")


def split_comes_last(cells: list[tuple[list[str], str]]) -> bool:
    """Whether no cell up to the last one tagged "choice" names the test split."""
    choices = [place for place, (tags, _) in enumerate(cells) if "choice" in tags]
    first_test = [place for place, (_, text) in enumerate(cells) if TEST_SPLIT.search(text)]
    return not choices or not first_test or choices[-1] < first_test[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_test_split_is_named_after_the_last_choice(path: Path) -> None:
    assert split_comes_last(code_cells(path))


def test_a_choice_after_the_test_questions_is_found() -> None:
    choice = (["choice"], "best = max(scores)")
    test: tuple[list[str], str] = ([], 'questions = load_questions("test")')
    assert split_comes_last([choice, test])
    assert not split_comes_last([test, choice])


def test_the_notebooks_that_choose_something_say_where() -> None:
    """03 chooses a fusion, 04 a reranker, 05 a search and a threshold."""
    chosen = {p.stem[:2] for p in NOTEBOOKS if any("choice" in tags for tags, _ in code_cells(p))}
    assert chosen >= {"03", "04", "05"}


def test_claims_are_made_in_few_collapsed_cells() -> None:
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and re.search(r"^\s*claim(_\w+)?\(", source, re.M):
                assert cell["metadata"].get("jupyter", {}).get("source_hidden"), source[:200]


def test_the_ledger_has_every_notebook() -> None:
    assert set(load_ledger()) == {path.stem for path in NOTEBOOKS}

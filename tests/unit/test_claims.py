from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_utils.evaluate.intervals import (
    Estimate,
)
from course_utils.lab import ledger
from course_utils.lab.claims import (
    ClaimError,
    claim,
    claim_exact,
    claim_model,
    claim_untested,
    start,
    table,
)
from course_utils.lab.ledger import Claim, claims_markdown, fill_findings, read_lines


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "claims.jsonl"
    monkeypatch.setenv("COURSE_LEDGER", str(path))
    start("01_test")
    return path


def recorded(lines: Path) -> list[Claim]:
    return ledger.measured_claims(read_lines(lines))


def test_a_measured_claim_is_printed_recorded_and_shown(
    lines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim("S01.x", "Retrieval helps", Estimate(0.5, 0.4, 0.6, 80))
    assert capsys.readouterr().out == (
        "S01.x: Retrieval helps.\n    SUPPORTED: share +0.5 [0.4, 0.6], n = 80.\n"
    )
    shown = table()
    assert "<td>S01.x</td>" in shown.data and repr(shown) == "claims table"
    entry = read_lines(lines)["01_test"]
    assert entry["claims"][0]["interval"] == [0.4, 0.6]
    assert entry["claims"][0]["margin"] == 0.05 and entry["claims"][0]["kind"] == "measured"
    assert entry["peak_bytes"] > 1e7 and entry["seconds"] >= 0


def test_a_measurement_against_the_statement_is_a_result_and_no_error(lines: Path) -> None:
    claim("S01.x", "It helps", Estimate(-0.5, -0.6, -0.4, 80))
    assert recorded(lines)[0].verdict == "against"


def test_the_interval_of_a_family_is_wider(lines: Path) -> None:
    claim("S28.lsa", "LSA ranks better", Estimate(0.05, 0.01, 0.09, 136), "nDCG@10")
    (made,) = recorded(lines)
    assert made.comparisons == 5 and made.interval is not None and made.interval[0] < 0
    assert made.verdict == "undecided"


def test_kinds_without_an_interval(lines: Path) -> None:
    claim_exact("S02.x", "No weight changed", 0, holds=True)
    claim_exact("S02.y", "No weight changed", 3, holds=False)
    claim_model("S18.x", "LoRA is cheaper", [True] * 96 + [False] * 4, ranges="prices halved")
    claim_model("S18.y", "LoRA is cheaper", [True] * 4 + [False] * 96, ranges="prices halved")
    claim_model("S18.z", "LoRA is cheaper", [True, False], ranges="prices halved")
    claim_untested("S14.x", "A small model is as good as a large one", "There is one size here.")
    assert [(c.kind, c.verdict) for c in recorded(lines)] == [
        ("exact", "supported"),
        ("exact", "against"),
        ("model", "supported"),
        ("model", "against"),
        ("model", "undecided"),
        ("measured", "not tested"),
    ]
    assert recorded(lines)[2].value == 0.96 and "prices halved" in recorded(lines)[2].note


def test_a_claim_that_cannot_be_supported_is_refused(lines: Path) -> None:
    made = Estimate(0.04, 0.0, 0.1, 46)
    with pytest.raises(ClaimError, match=r"between -1 and 0\.05, and it has to be above 0\.2"):
        claim("S24.x", "The gain is large", made, above=0.2, reach=(-1, 0.05))
    with pytest.raises(ClaimError, match="cannot be supported"):
        claim("S24.x", "More than everybody", made, above=1.0)
    with pytest.raises(ClaimError, match="cannot be supported"):
        claim("S24.x", "Fewer than none", made, below=0.0, reach=(0, 1))
    assert not lines.exists()


@pytest.mark.parametrize(
    ("statement", "settings", "message"),
    [
        ("It helps", {"above": 0.1, "below": 0.2}, "give one of them"),
        ("It helps", {"metric": "beauty"}, "no margin for 'beauty'"),
        ("It helps.", {}, "without its full stop"),
        ("gain in recall", {}, "is a sentence"),
    ],
)
def test_a_claim_says_one_thing(
    lines: Path, statement: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ClaimError, match=message):
        claim("S01.x", statement, Estimate(0.5, 0.4, 0.6, 80), **settings)  # type: ignore[arg-type]


def test_a_claim_made_twice_is_kept_once(lines: Path) -> None:
    claim("S01.x", "First", 1)
    claim("S01.x", "Second", 2)
    assert [made.statement for made in recorded(lines)] == ["Second"]
    assert "First" not in table().data


def test_text_in_a_table_is_escaped(lines: Path) -> None:
    claim("S01.x", "X<b>&", 1)
    assert "X&lt;b&gt;&amp;" in table().data


def test_every_statement_is_shown_beside_its_claims(lines: Path) -> None:
    claim("S01.x", "It helps", Estimate(0.5, 0.4, 0.6, 80), exploratory=True, note="Only here.")
    shown = claims_markdown(read_lines(lines), {"S01": "RAG helps", "S02": "Nobody measured it"})
    assert "1 claims (1 measured): 1 supported." in shown
    assert "| S01 | RAG helps | S01.x supported |" in shown
    assert "| S02 | Nobody measured it | not measured yet |" in shown
    assert (
        "| S01.x | It helps | measured | share +0.5 | 0.4 to 0.6 | 80 | 0.05 "
        "| **supported** (exploratory): Only here. |"
    ) in shown


def test_findings_take_their_numbers_from_the_ledger(lines: Path) -> None:
    claim("S01.x-y", "It helps", Estimate(0.512, 0.4, 0.6, 80))
    text = "From {S01.x-y} ({S01.x-y:interval}, n = {S01.x-y:n}) or {S01.x-y:.0%}."
    stored = read_lines(lines)
    assert fill_findings(text, stored) == "From 0.51 ([0.40, 0.60], n = 80) or 51%."
    with pytest.raises(KeyError):
        fill_findings("{S01.gone}", stored)


def test_no_ledger_yet_is_empty(tmp_path: Path) -> None:
    assert ledger.load_ledger(tmp_path / "none.json") == {}
    claims, readme = tmp_path / "CLAIMS.md", tmp_path / "README.md"
    readme.write_text("before\n<!-- findings -->\nold\n<!-- /findings -->\nafter\n")
    stored = json.loads(ledger.LEDGER.read_text())
    ledger.write_claims(stored, claims, readme)
    assert claims.read_text().startswith("# Claims") and "\nold\n" not in readme.read_text()
    assert readme.read_text().endswith("<!-- /findings -->\nafter\n")

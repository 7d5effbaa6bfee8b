"""The report on documents that this project did not write: the topics of Python's own help()."""

from __future__ import annotations

import csv
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from course_utils.evaluate.intervals import estimate
from course_utils.models.embedding import load_embedder
from course_utils.models.generator import LanguageModel, load_generator
from course_utils.project import report
from course_utils.tasks.copying import CopyReader

QUESTIONS = Path(__file__).parent / "data" / "python_topics.csv"
ASKED = 12  # questions: reading is what takes time
LONG = 5_000  # characters; a longer topic that no question is about takes too long to embed


def test_python_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, *questions = QUESTIONS.read_text(encoding="utf8").splitlines(keepends=True)
    few = tmp_path.parent / "questions.csv"
    few.write_text("".join([header, *questions[:ASKED]]), encoding="utf8")
    asked = {row["page"] for row in csv.DictReader(few.open(encoding="utf8"))}
    for name, text in topics.items():
        if f"{name}.txt" in asked or len(text) < LONG:
            (tmp_path / f"{name}.txt").write_text(text, encoding="utf8")
    llm = load_generator()
    assert isinstance(llm, LanguageModel)
    made = report.evaluate_folder(tmp_path, few, load_embedder(), CopyReader(llm))
    with capsys.disabled():
        for arm, scores in made.scores.items():
            print(f"\n{arm}", *(f"{m} {estimate(scores[m])}" for m in scores), end="")
        print(f"\n{report.count_causes(made)}")
    assert len(made.asked) == ASKED
    assert made.scores["fused"]["recall_5"].mean() > 0.5
    assert len(report.report_html(made)) < 3_000_000

"""Exercises and explorers, clicked as a learner clicks them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import EDIT, RESTART, RUN, Lab
from playwright.sync_api import expect

EXERCISES = Path(__file__).with_name("exercises")
CELLS = [
    "from course_utils.grade.dashboard import dashboard\n"
    "from course_utils.grade.view import exercise\n"
    f"FOLDER = {str(EXERCISES)!r}\n"
    "total = 12",
    'exercise("99-prediction", FOLDER)',
    'exercise("99-choice", FOLDER)',
    'exercise("99-answers", FOLDER)',
    'exercise("99-number", FOLDER)',
    'def double(x):\n    ...\n\nexercise("99-code", FOLDER)',
    'guess = ...\nexercise("99-challenge", FOLDER)',
    'dashboard("99", FOLDER)',
]
CHOOSERS = [
    "from course_utils.decision import deciding\n"
    "from course_utils.generate.citing import Answer\n"
    "from course_utils.lab import explorers\n"
    "from course_utils.tasks.handbook import load_handbook, load_questions",
    "explorers.scenario_explorer(deciding.scenarios())",
    "pages = {page.node_id: page for page in load_handbook()[:400]}\n"
    "questions = load_questions('dev', 'stress')\n"
    "asked = [q for q in questions if q.gold and q.gold[0].page in pages][:2]\n"
    "given = [Answer('Monday', q.gold[0].page) for q in asked]\n"
    "explorers.failure_browser(pages, asked, given, ['not retrieved', 'read wrongly'])",
    "from course_utils import Recipe, load_generator, train\n"
    "llm = load_generator()\n"
    "def learned(answer):\n"
    "    roles = {'user': 'Hello', 'assistant': answer}\n"
    "    chat = [{'role': role, 'content': text} for role, text in roles.items()]\n"
    "    return train(llm, [chat], Recipe(epochs=1))\n"
    "tasks = {name: (learned(name), 'Answer.', f'Say {name}') for name in ('yes', 'no')}\n"
    "explorers.adapter_explorer(llm, tasks, max_new_tokens=4)",
    "import numpy as np\n"
    "from course_utils import load_embedder\n"
    "from course_utils.lab.faults import search_factory\n"
    "class Letters:\n"
    "    fingerprint, tokenizer = 'letters', load_embedder().tokenizer\n"
    "    def encode(self, texts):\n"
    "        rows = np.array([[t.count(c) + .1 for c in 'abcdefgh'] for t in texts], 'float32')\n"
    "        return rows / np.linalg.norm(rows, axis=1, keepdims=True)\n"
    "def reader(texts, found): return [Answer(found[0][0].text)]\n"
    "asked = [q for q in load_questions('train', 'stress') if q.gold and q.gold[0].page in pages]\n"
    "made = search_factory([*pages.values()], Letters())\n"
    "explorers.broken_pipeline_explorer(made, asked[:4], reader)",
]
EXPLORERS = [
    "import numpy as np\n"
    "from course_utils import BM25Retriever, DenseRetriever\n"
    "from course_utils.lab import explorers\n"
    "from course_utils.models.generator import Endpoint\n"
    "from course_utils.tasks.handbook import load_handbook, load_questions\n"
    "pages = load_handbook(week=1)[:60]\n"
    "ids = {page.node_id for page in pages}\n"
    "questions = [q for q in load_questions('dev', 'stress') if q.answerable]\n"
    "questions += [q for q in load_questions('train', 'stress') if q.answerable]\n"
    "questions = [q for q in questions if all(s.page in ids for s in q.gold)]\n"
    "class Letters:\n"
    "    fingerprint = 'letters'\n"
    "    def encode(self, texts):\n"
    "        rows = np.array([[t.count(c) + .1 for c in 'abcdefgh'] for t in texts], 'float32')\n"
    "        return rows / np.linalg.norm(rows, axis=1, keepdims=True)\n"
    "words = BM25Retriever(pages)\n"
    "letters = DenseRetriever(pages, Letters())",
    "explorers.fusion_explorer(words, letters, questions)",
    "from course_utils.search.reranking import Reranker\n"
    "class Lengths(Reranker):\n"
    "    def _score(self, question, nodes):\n"
    "        return [float(len(node.get_content())) for node in nodes]\n"
    "explorers.rerank_explorer(words, Lengths(), questions)",
    "explorers.chunk_explorer({p.node_id: p for p in pages}, questions, {'thirds': lambda size: "
    "lambda text: [(n, n + size) for n in range(0, len(text), size)]})",
    "from course_utils.scale.sizing import UnitCosts\n"
    "explorers.size_calculator(UnitCosts(5, 384, 1000, 0.02, 1e-7, 0.01))",
    "explorers.rag_explorer(letters, Endpoint('http://127.0.0.1:9/v1', 'none'), questions)",
]


@pytest.fixture
def opened(lab: Lab, page: Any, request: pytest.FixtureRequest) -> Any:
    """The notebook of all kinds, run from a fresh kernel, with no answers yet."""
    (lab.folder / ".answers" / "answers.jsonl").unlink(missing_ok=True)
    name = f"{request.node.name}.ipynb"
    lab.write(name, CELLS)
    lab.open(page, name)
    part(page, "challenge").wait_for()
    return page


def part(page: Any, kind: str) -> Any:
    """The output of an exercise."""
    return page.locator(".jp-OutputArea-output").filter(has_text=f"Exercise 99-{kind}:")


def press(area: Any, button: str) -> None:
    area.get_by_role("button", name=button).click()


def said(area: Any, words: str) -> None:
    """Wait for words in an announced part of an exercise."""
    area.get_by_role("status").filter(has_text=words).first.wait_for()


def test_an_unsolved_notebook_runs_and_nothing_is_preselected(opened: Any) -> None:
    assert opened.locator("input[type=radio]:checked").count() == 0
    for kind in ("prediction", "choice", "answers", "number", "code", "challenge"):
        press(part(opened, kind), "Check")
        said(part(opened, kind), "Not answered yet")


def test_each_kind_is_answered_wrong_and_right_and_survives_a_restart(opened: Any) -> None:
    choice, number = part(opened, "choice"), part(opened, "number")
    choice.get_by_label("It is five").check()
    press(choice, "Check")
    said(choice, "Five is too few")
    press(choice, "Hint")
    said(choice, "Share twelve")
    choice.get_by_label("It is six").check()
    press(choice, "Check")
    said(choice, "Twice six")
    part(opened, "prediction").get_by_label("It is odd").check()
    press(part(opened, "prediction"), "Check")
    said(part(opened, "prediction"), "Partly right")
    for label in ("Two divides it", "Five divides it"):
        part(opened, "answers").get_by_label(label).check()
    press(part(opened, "answers"), "Check")
    said(part(opened, "answers"), "12 / 5 is not whole")
    number.get_by_label("Answer").fill("36")
    press(number, "Check")
    said(number, "three times as much")
    number.get_by_label("Answer").fill("4")
    press(number, "Check")
    said(number, "Three fours")

    wrong = 'def double(x):\n    return x\n\nexercise("99-code", FOLDER)'
    opened.evaluate(EDIT, [5, wrong])
    press(part(opened, "code"), "Check")
    said(part(opened, "code"), "Twice 2 is 4")
    endless = wrong.replace("return x", "while True: pass")
    opened.evaluate(EDIT, [5, endless])
    press(part(opened, "code"), "Check")
    said(part(opened, "code"), "stopped after 2 seconds")
    opened.evaluate(EDIT, [5, wrong.replace("return x", "return 2 * x")])
    press(part(opened, "code"), "Check")
    said(part(opened, "code"), "Twice is enough")
    press(part(opened, "challenge"), "Solution")
    said(part(opened, "challenge"), "earn no points")
    press(part(opened, "challenge"), "Show it")
    said(part(opened, "challenge"), "guess = 12")

    opened.evaluate(RESTART)
    assert opened.evaluate(RUN)
    said(part(opened, "choice"), "Twice six")
    assert part(opened, "choice").get_by_label("It is six").is_checked()
    said(part(opened, "choice"), "Share twelve")
    assert "0.9 of 1 points" in part(opened, "choice").inner_text()
    assert part(opened, "answers").get_by_label("Two divides it").is_checked()
    assert part(opened, "number").get_by_label("Answer").input_value() == "4"
    said(part(opened, "challenge"), "guess = 12")
    said(part(opened, "code"), "Twice is enough")
    opened.get_by_text("4.9 of 10 points").wait_for()


def test_the_keyboard_is_enough(opened: Any) -> None:
    """Tab and Space; JupyterLab takes the arrow keys and Enter for its cells."""

    def press_keys(*keys: str) -> None:
        for key in keys:
            opened.keyboard.press(key)

    choice = part(opened, "choice")
    choice.get_by_label("It is five").focus()
    press_keys("Space", "Tab", "Space")
    expect(choice.get_by_label("It is six")).to_be_checked()
    expect(choice.get_by_label("It is five")).not_to_be_checked()
    press_keys("Tab", "Tab", "Space")
    said(choice, "Twice six")
    press_keys("Tab", "Space")
    said(choice, "Share twelve")
    part(opened, "answers").get_by_label("Two divides it").focus()
    press_keys("Space", "Tab", "Space", "Tab", "Tab", "Tab", "Space")
    said(part(opened, "answers"), "2 times 2 times 3")
    part(opened, "number").get_by_label("Answer").focus()
    opened.keyboard.type("4")
    press_keys("Tab", "Space")
    said(part(opened, "number"), "Three fours")
    opened.evaluate(EDIT, [6, 'guess = 12\nexercise("99-challenge", FOLDER)'])
    press_keys("Escape")
    part(opened, "challenge").get_by_role("button", name="Check").focus()
    press_keys("Space")
    said(part(opened, "challenge"), "It was twelve")
    press_keys("Tab", "Tab", "Space")
    said(part(opened, "challenge"), "guess = 12")


def test_a_cell_run_again_shows_one_view_and_keeps_the_answer(opened: Any) -> None:
    choice = part(opened, "choice")
    choice.get_by_label("It is six").check()
    press(choice, "Check")
    said(choice, "Twice six")
    opened.evaluate(EDIT, [2, CELLS[2]])
    said(choice, "Twice six")
    assert choice.count() == 1 and choice.get_by_label("It is six").is_checked()


def test_the_dashboard_exports_what_can_be_imported(opened: Any, lab: Lab) -> None:
    part(opened, "number").get_by_label("Answer").fill("4")
    press(part(opened, "number"), "Check")
    said(part(opened, "number"), "Three fours")
    opened.get_by_text("1 of 10 points").wait_for()  # the dashboard follows
    opened.get_by_label("Your name").fill("Ada")
    opened.keyboard.press("Enter")
    opened.get_by_role("button", name="Export").click()
    opened.get_by_text("saved as answers-Ada.jsonl").wait_for()
    with opened.expect_download() as download:
        opened.get_by_role("link", name="Download it").click()
    text = Path(download.value.path()).read_text()
    assert '"Ada"' in text and "99-number" in text
    assert (lab.folder / "answers-Ada.jsonl").read_text() == text
    (lab.folder / ".answers" / "answers.jsonl").unlink()
    with opened.expect_file_chooser() as chooser:
        opened.get_by_role("button", name="Import").click()
    chooser.value.set_files(lab.folder / "answers-Ada.jsonl")
    opened.get_by_text("2 new entries imported").wait_for()
    opened.get_by_text("1 of 10 points").wait_for()


def test_a_slider_of_each_explorer_moves_its_view(lab: Lab, page: Any) -> None:
    folder = Path(__file__).parents[2] / "course_utils" / "lab" / "explorers"
    source = "\n".join(path.read_text() for path in sorted(folder.glob("*.py")))
    for explorer in re.findall(r"^def (\w+_(?:explorer|browser))\(", source, re.MULTILINE):
        assert any(f"explorers.{explorer}(" in cell for cell in EXPLORERS + CHOOSERS), explorer
    lab.write("explorers.ipynb", EXPLORERS)
    lab.open(page, "explorers.ipynb")
    views = page.locator(".jp-OutputArea-output .widget-vbox")
    for n in range(len(EXPLORERS) - 1):
        view = views.nth(n)
        view.locator(".noUi-handle").first.wait_for()
        text, number = view.inner_html(), view.locator(".widget-html").first.inner_html()
        for _ in range(5):
            view.locator(".noUi-handle").first.focus()
            page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "([n, before]) => document.querySelectorAll('.jp-OutputArea-output .widget-vbox')[n]"
            ".querySelector('.widget-html').innerHTML != before",
            arg=[n, number],
        )
        assert view.inner_html() != text


def test_choosing_another_case_shows_another_one(lab: Lab, page: Any) -> None:
    lab.write("choosers.ipynb", CHOOSERS)
    lab.open(page, "choosers.ipynb")
    views = page.locator(".jp-OutputArea-output .widget-vbox")
    for n in range(len(CHOOSERS) - 1):
        view = views.nth(n)
        view.locator("select").first.wait_for()
        said = view.locator(".widget-html").last
        before = said.inner_text()
        view.locator("select").first.select_option(index=1)
        for switch in view.get_by_role("checkbox").all()[:1]:
            switch.check()
        for button in ("Decide", "Write", "Answer"):
            if view.get_by_role("button", name=button).count():
                view.get_by_role("button", name=button).click()
        expect(said).not_to_have_text(before, use_inner_text=True, timeout=60_000)

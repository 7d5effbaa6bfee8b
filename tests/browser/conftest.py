"""A real JupyterLab in a real Chromium. Run these tests in a process of their own.

They need Debian's ``chromium`` (apt-get install chromium), or any on the PATH, and are skipped
without one. A failed test leaves a screenshot in test-reports/.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REPORTS = ROOT / "test-reports"
READY = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
}"""
RESTART = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.sessionContext.session.kernel.restart();
    await panel.sessionContext.session.kernel.info;
}"""
RUN = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
EDIT = """async ([index, source]) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    notebook.activeCell.model.sharedModel.setSource(source);
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""


class Lab:
    """A JupyterLab server over an empty folder, with settings and answers of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = folder / ".settings" / "@jupyterlab"
        for name, values in {
            "notebook-extension/tracker": {"windowingMode": "none"},
            "apputils-extension/notification": {"fetchNews": "false"},
        }.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        places = {
            "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".workspaces"),
            "JUPYTER_CONFIG_DIR": str(folder / ".config"),
            "COURSE_ANSWERS": str(folder / ".answers"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self.log = (folder / ".lab.log").open("wb")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *(f"--port={self.port}", "--IdentityProvider.token=t"),
                *("--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}"),
            ],
            env={k: v for k, v in os.environ.items() if k != "COURSE_LEDGER"} | places,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status?token=t")
                return
            except OSError:
                time.sleep(0.5)
        raise RuntimeError((folder / ".lab.log").read_text()[-3000:])

    def write(self, name: str, cells: list[str]) -> None:
        notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook.metadata["kernelspec"] = kernel  # without one the page asks which to take
        nbformat.write(notebook, self.folder / name)

    def open(self, page: Any, name: str) -> None:
        """Open a notebook, wait for its kernel and run all cells."""
        page.goto(f"http://127.0.0.1:{self.port}/lab/tree/{name}?token=t&reset")
        page.wait_for_function("window.jupyterapp && window.jupyterapp.started", timeout=120_000)
        page.wait_for_selector(".jp-NotebookPanel", timeout=60_000)
        page.evaluate(READY)
        assert page.evaluate(RUN), "a cell failed"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if not CHROMIUM:
        pytest.skip("there is no chromium here; `apt-get install chromium` brings one")
    running = Lab(tmp_path_factory.mktemp("lab"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def browser(lab: Lab) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1300, "height": 1600})
    opened.set_default_timeout(30_000)
    failed = request.session.testsfailed
    yield opened
    if os.environ.get("COURSE_SHOTS") or request.session.testsfailed > failed:
        REPORTS.mkdir(exist_ok=True)
        opened.screenshot(path=REPORTS / f"{request.node.name}.png")
    opened.close()

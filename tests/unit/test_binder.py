"""What repo2docker reads. Docker, conda-forge and Binder itself are out of a test's reach."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"


def test_python_and_torch_are_those_of_the_course() -> None:
    environment = yaml.safe_load((BINDER / "environment.yml").read_text())
    python, torch = environment["dependencies"]
    assert python == "python=3.11"  # the lowest that pyproject.toml allows, which the tests run
    pinned = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert re.fullmatch(rf"pytorch-cpu>=\S+,<={re.escape(pinned[1])}", torch)


def test_no_address_is_committed() -> None:
    text = "".join(path.read_text() for path in BINDER.iterdir() if path.is_file())
    assert "://" not in text
    assert not re.search(r"\.(org|com|io|net)\b", text)


def test_after_the_build_only_what_notebooks_need_is_there(tmp_path: Path) -> None:
    """postBuild with a python that writes down what it is asked, in the order it is asked."""
    shutil.copytree(BINDER, tmp_path / "binder")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    said = tmp_path / "said.txt"
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "python"
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {said}\n[ "$2" != pip ] || cp "$6" {tmp_path}/pins.txt\n'
    )
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    subprocess.run(["binder/postBuild"], cwd=tmp_path, env={"PATH": path}, check=True)
    install, check, models, page = said.read_text().splitlines()
    assert install.startswith("-m pip install --no-cache-dir --constraint")
    assert install.endswith("--editable .")
    assert "torch.version.cuda is None" in check
    assert (models, page) == ("-m course_utils models fetch", "binder/first_page.py")
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    kept = (tmp_path / "pins.txt").read_text().splitlines()
    assert [pin for pin in pins if pin not in kept] == [p for p in pins if p.startswith("torch==")]


@pytest.mark.slow
def test_the_first_page_is_the_first_notebook(tmp_path: Path) -> None:
    code = f"import sys; sys.prefix = {str(tmp_path)!r}; exec(open('binder/first_page.py').read())"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    settings = json.loads((tmp_path / "etc" / "jupyter" / "jupyter_config.json").read_text())
    page = settings["LabApp"]["default_url"]
    assert page.startswith("/lab/tree/notebooks/0")
    first = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))[0]
    assert ROOT / page.removeprefix("/lab/tree/") == first


def test_repo2docker_writes_its_dockerfile() -> None:
    tool = shutil.which("jupyter-repo2docker")
    if tool is None:
        pytest.skip("repo2docker is not installed: pip install jupyter-repo2docker")
    done = subprocess.run(
        [tool, "--no-build", "--debug", str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    dockerfile = done.stdout + done.stderr
    assert "Building conda environment for python=3.11" in dockerfile
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in dockerfile
    assert "RUN ./binder/postBuild" in dockerfile

"""Run an experiment arm by arm, and store its result."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from course_utils import tasks
from course_utils.files import DATASETS, cache_dir, write_text
from course_utils.lab.results import RESULTS, ExperimentError
from notebooks.experiments.bench import Arms, Bench
from notebooks.experiments.emails import voice_experiment
from notebooks.experiments.knowledge import knowledge_experiment
from notebooks.experiments.law import law_experiment
from notebooks.experiments.mistakes import mistake_experiment
from notebooks.experiments.reading import reader_experiment
from notebooks.experiments.tickets import ablation_experiment, format_experiment

EXPERIMENTS: dict[str, Callable[[Bench], Arms]] = {
    "format": format_experiment,
    "voice": voice_experiment,
    "knowledge": knowledge_experiment,
    "ablations": ablation_experiment,
    "law": law_experiment,
    "reader": reader_experiment,
    "mistakes": mistake_experiment,
}


def run_experiment(name: str, small: bool = False, out: Path | None = None) -> Path:
    """Run an experiment arm by arm; one that was interrupted goes on, if nothing has changed since.

    The same model, code of the arms and data are needed: old and new arms in one file could not
    be compared.

    Args:
        name: a key of ``EXPERIMENTS``.
        small: two items, one epoch and a few tokens each, to see that it works.
        out: the file; default ``results/NAME.json`` here, or one in the cache for a small run.

    Raises:
        ExperimentError: there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise ExperimentError(
            f"There is no experiment {name!r}: use one of {', '.join(EXPERIMENTS)}."
        )
    folder = cache_dir() / "experiments"
    folder.mkdir(exist_ok=True)
    bench = Bench(small)
    partial = folder / f"{name}-{bench.key}-{code_version()}.partial"
    out = out or (folder / f"{name}-small.json" if small else RESULTS / f"{name}.json")
    arms: dict[str, Any] = {}
    if partial.exists():
        arms = json.loads(partial.read_text(encoding="utf8"))
    for label, arm in EXPERIMENTS[name](bench):
        if label not in arms:
            arms[label] = arm()
            write_text(partial, json.dumps(arms))
    out.parent.mkdir(exist_ok=True)
    record = {"sweep": name, "small": small} | machine() | {"arms": arms}
    write_text(out, json.dumps(record, separators=(",", ":")) + "\n")
    partial.unlink(missing_ok=True)
    return out


def code_version() -> str:
    """A hash of the experiments' code, that of the tasks, and the data sets."""
    code = [Path(__file__).parent, Path(tasks.__file__).parent]
    paths = [path for folder in code for path in folder.glob("*.py")]
    paths += [path for path in DATASETS.rglob("*") if "__pycache__" not in path.parts]
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def machine() -> dict[str, Any]:
    """When, on what and with which code a result was measured."""
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpu.read_text()) if cpu.exists() else []
    threads = torch.get_num_threads()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{names[0] if names else platform.processor()}, {threads} threads",
        "code": code_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }

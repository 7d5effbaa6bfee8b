"""Waiting at the start: importing the course, and starting a kernel, in fresh processes.

There is nothing to pick instead; the imports stand beside those of the libraries alone, and the
kernel beside one that imports the course first.
"""

from __future__ import annotations

import subprocess
import sys
import time

from jupyter_client.manager import start_new_kernel

from benchmarks.measure import Measured, Row, compare, in_turns

RIVALS = ("jupyterlab", "ipykernel")
COURSE = "course_utils.lab.explorers"
IMPORTS = {
    COURSE: "from course_utils.lab import explorers",
    "torch": "import torch",
    "llama_index.core": "import llama_index.core",
    "transformers' Llama": "from transformers import LlamaForCausalLM",
}


def measure(small: bool = False) -> list[Row]:
    """Seconds of imports, and of kernels to their first 1 + 1."""
    imports = {name: (lambda code=code: fresh(code)) for name, code in IMPORTS.items()}
    kernels = {
        "kernel, the course imported": lambda: kernel(IMPORTS[COURSE] + "; 1 + 1"),
        "kernel alone": lambda: kernel("1 + 1"),
    }
    fresh(IMPORTS[COURSE])  # the first run reads the files from disk
    rounds = 1 if small else 7
    imported = in_turns(imports, rounds)
    course, *libraries = imports
    rows = [row for name in libraries for row in compare(imported, course, name)]
    return rows + compare(in_turns(kernels, rounds), *kernels)


def fresh(code: str) -> Measured:
    """Seconds that code takes in a new interpreter, whose own start is left out."""
    timed = f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return {"seconds to import": float(done.stdout.split()[-1])}


def kernel(code: str) -> Measured:
    """Seconds from asking for a kernel to the reply of its first cell."""
    began = time.perf_counter()
    manager, client = start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)
    try:
        reply = client.execute_interactive(code, timeout=300, output_hook=lambda _: None)
        taken = time.perf_counter() - began
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if reply["content"]["status"] != "ok":
        raise RuntimeError(f"The kernel failed at {code!r}: {reply['content'].get('evalue')}")
    return {"seconds to the first 1 + 1": taken}

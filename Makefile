# make lab    set everything up and open JupyterLab on the first notebook
# make test   set everything up and run every test, all notebooks included
# make check  lint, types and unit tests: the inner loop
# make slow   check, and every other test but the notebooks
# make notebook NN=05   test one notebook
# make live NN=05       run one notebook without recordings; all of them without NN
# make bench  measure the course against what one would pick instead, into benchmarks/
#
# On Linux pip takes torch with CUDA (gigabytes). TORCH_INDEX=<PyTorch's CPU wheel index> takes the
# CPU build instead.

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
INSTALL := python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP := $(BIN)/$(INSTALL)
# A test on each core, each with one thread. Ray's and the notebooks' tests need all cores.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

.PHONY: lab test check slow notebook live run bench clean

lab: .venv/lab
	$(BIN)/python -m course_utils lab

test: slow
	$(BIN)/python -m pytest tests/notebooks

slow: check
	$(BIN)/python -m course_utils models fetch
	$(BIN)/python -m pytest tests/browser
	$(PARALLEL) -m slow tests/unit tests/exercises
	$(PARALLEL) tests/slow --ignore tests/slow/test_clusters.py
	$(BIN)/python -m pytest tests/slow/test_clusters.py

check: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PARALLEL) -m "not slow" tests/unit tests/exercises

notebook: .venv/test
	$(BIN)/python -m course_utils models fetch
	$(BIN)/python -m pytest tests/notebooks -k "$(NN)_"

live: .venv/test
	$(BIN)/python -m course_utils models fetch
	COURSE_LIVE=1 $(BIN)/python -m course_utils run $(NN)

run: .venv/test
	$(BIN)/python -m course_utils run

bench: .venv-bench/ready
	.venv-bench/bin/python -m course_utils models fetch
	.venv-bench/bin/python -m benchmarks

clean:
	rm -rf .venv .venv-bench

%/torch: constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'The course needs Python 3.11 or newer.')"
	$(PYTHON) -m venv $*
	$(if $(TORCH_INDEX),$*/bin/python -m pip install --quiet --no-deps -i $(TORCH_INDEX) $$(grep ^torch== constraints.txt),)
	touch $@

.venv-bench/ready: .venv-bench/torch pyproject.toml benchmarks/requirements.txt
	.venv-bench/bin/$(INSTALL) --editable . --requirement benchmarks/requirements.txt
	touch $@

.venv/lab: .venv/torch pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/test: .venv/torch pyproject.toml
	$(PIP) --editable ".[test,scale]"
	touch .venv/lab $@

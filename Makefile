# make lab    set everything up and open JupyterLab on the first notebook
# make test   set everything up and run every test, all notebooks included
# make check  lint, types and unit tests: the inner loop
# make quick  check, and the notebooks that uncommitted changes touch (BASE=main: since main)
# make slow   check, and every other test but the notebooks
# make notebook NN=05   test one notebook
# make live NN=05       run one notebook without recordings; without NN all of them, and the
#                       small versions of the stored experiments
# make bench  measure the course against what one would pick instead, into benchmarks/
#
# On Linux pip takes torch with CUDA (gigabytes). TORCH_INDEX=<PyTorch's CPU wheel index> takes the
# CPU build instead.

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
INSTALL := python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP := $(BIN)/$(INSTALL)
PYTEST := $(BIN)/python -m pytest
# A test on each core, each with one thread.
PARALLEL := OMP_NUM_THREADS=1 $(PYTEST) --numprocesses auto
# Two notebooks at a time, where memory allows; the longest are first.
NOTEBOOKS := $(PYTEST) --numprocesses auto --dist load --maxschedchunk 1 tests/notebooks
BASE ?= HEAD

.PHONY: lab test check lint types models reader unit quick slow notebook live run bench clean

lab: .venv/lab
	$(BIN)/python -m course_utils lab

test: slow
	$(NOTEBOOKS) -m "not alone"
	$(PYTEST) -m alone tests/notebooks

# Types are checked while the models are downloaded and unpacked.
slow: .venv/test
	$(MAKE) --jobs=3 lint types models reader
	$(MAKE) unit
	$(PYTEST) tests/browser
	$(PARALLEL) -m "slow and not alone" tests/unit tests/exercises
	$(PARALLEL) --dist loadgroup -m "not alone and not live" tests/slow
	$(PYTEST) -m "alone and not live" tests/slow

check: lint types unit

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test
	$(BIN)/mypy

models: .venv/test
	$(BIN)/python -m course_utils models fetch small

# The reader is large, and the tests that ask it say so when they are left out without it.
reader: .venv/test
	-$(BIN)/python -m course_utils models fetch reader

unit: .venv/test
	$(PARALLEL) -m "not slow" tests/unit tests/exercises

quick: check models
	touched=$$($(BIN)/python tests/notebooks/changed.py $(BASE)) || exit; \
	if [ -n "$$touched" ]; then $(NOTEBOOKS) -k "$$touched"; fi

notebook: models
	$(if $(filter 1,$(COURSE_LIVE)),$(BIN)/python -m course_utils models fetch all)
	$(PYTEST) tests/notebooks -k "$(NN)_"

live: models
	$(BIN)/python -m course_utils models fetch all
	COURSE_LIVE=1 $(BIN)/python -m course_utils run $(NN)
	$(if $(NN),,$(PARALLEL) -m live tests/slow)

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

# make lab    set everything up and open JupyterLab on the first notebook
# make test   set everything up and run every test, all notebooks included
# make check  lint, types and unit tests: the inner loop
#
# On Linux pip takes torch with CUDA (gigabytes). TORCH_INDEX=<PyTorch's CPU wheel index> takes the
# CPU build instead.

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: lab test check run clean

lab: .venv/lab
	$(BIN)/python -m course_utils lab

test: check
	$(BIN)/python -m course_utils models fetch
	$(BIN)/python -m pytest tests/browser
	$(BIN)/python -m pytest tests/slow tests/notebooks

check: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit tests/exercises

run: .venv/test
	$(BIN)/python -m course_utils run

clean:
	rm -rf .venv

.venv/torch: constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'The course needs Python 3.11 or newer.')"
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --no-deps -i $(TORCH_INDEX) $$(grep ^torch== constraints.txt),)
	touch $@

.venv/lab: .venv/torch pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/test: .venv/torch pyproject.toml
	$(PIP) --editable ".[test]"
	touch .venv/lab $@

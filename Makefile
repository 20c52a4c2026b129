# `make demo` and `make test` set themselves up: .venv, packages, tiny checkpoints. CPU only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# pip is told of nothing that would pull CUDA: torch first and exactly, then the rest beside it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve,dev]'
	touch $@

.PHONY: setup demo test test-slow lint clean

setup: $(VENV)/.installed

demo: setup
	$(BIN)/python tools/demo.py

test: setup
	$(BIN)/python -m pytest -m 'not slow'

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	tools/lint_workflows.sh $(BIN)

clean:
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache

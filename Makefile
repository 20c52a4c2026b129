# `make demo` and `make test` set themselves up: .venv, packages, tiny checkpoints. CPU only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An environment with CUDA wheels for a machine without a GPU; another one: TARGET_PYTHON=…
TARGET_VENV := .venv-target
TARGET_PYTHON ?= $(TARGET_VENV)/bin/python

# pip is told of nothing that would pull CUDA: torch first and exactly, then the rest beside it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve,packs,dev]'
	touch $@

$(TARGET_VENV)/.installed: pyproject.toml
	@echo "$(TARGET_VENV): a CUDA build of torch with Triton and DeepGEMM: a download of about 3 GB, and 5.8 GB of disk"
	$(PYTHON) -m venv $(TARGET_VENV)
	$(TARGET_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(TARGET_VENV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.14.1 sgl-deep-gemm==0.2.5 pytest pytest-timeout -e '.[serve]'
	touch $@

.PHONY: setup demo test test-slow lint clean setup-target test-target demo-target

setup: $(VENV)/.installed

demo: setup
	$(BIN)/python tools/demo.py

test: setup
	$(BIN)/python -m pytest -m 'not slow' $(PYTEST_FLAGS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(PYTEST_FLAGS)

# With TARGET_PYTHON nothing is installed.
setup-target: setup $(if $(filter $(TARGET_VENV)/%,$(TARGET_PYTHON)),$(TARGET_VENV)/.installed)

test-target: setup-target
	$(BIN)/python -m pytest tests/target --target-python $(TARGET_PYTHON)

demo-target: setup-target
	$(BIN)/python tools/demo_target.py $(TARGET_PYTHON)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	tools/lint_workflows.sh $(BIN)

clean:
	rm -rf $(VENV) $(TARGET_VENV) .demo .demo-target .mypy_cache .pytest_cache .ruff_cache

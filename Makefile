# The two commands a newcomer needs are `make demo` and `make test`; both set everything up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help install demo test check docs reference mutants clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## create .venv with everything that development needs

demo: $(STAMP)  ## train privately over three organizations, on this machine, in minutes
	rm -rf runs/demo
	$(BIN)/fedpeft simulate simulations/quickstart.toml --out runs/demo
	$(BIN)/fedpeft ledger verify runs/demo/ledger

# Tests of real processes mostly wait, so they run beside the others and are shown after them.
test: $(STAMP)  ## the whole test suite
	@mkdir -p build; $(BIN)/python -m pytest tests/e2e > build/e2e.log 2>&1 & beside=$$!; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore=tests/e2e; rest=$$?; \
	wait $$beside; processes=$$?; cat build/e2e.log; exit $$((rest + processes))

check: $(STAMP)  ## style, types and documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) docs

docs: $(STAMP)  ## the documentation site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict

reference: $(STAMP)  ## write the pages of all keys and all commands anew
	$(BIN)/fedpeft config schema --markdown > docs/reference/configuration.md
	$(BIN)/python docs/commands.py > docs/reference/commands.md

mutants: $(STAMP)  ## break the privacy engine in every known way; each must turn a named test red
	$(BIN)/python -m simulations.mutants

clean:  ## remove the environment and the demo's files
	rm -rf $(VENV) runs/demo

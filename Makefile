# `make run` serves, `make test` tests everything; both install first what is missing.

.DEFAULT_GOAL := run
.PHONY: run test lint bench prove install clean
SHELL := /bin/bash

export PYTHON
INSTALLED := .venv/.installed
DEV_INSTALLED := .venv/.dev-installed
TOOLS := .venv/.test-tools
# Processes of tests. On two cores, too: half of the time they wait, most for processes that start and end.
AT_ONCE := 3

run: $(INSTALLED)
	@exec .venv/bin/python manage.py serve

test: lint $(TOOLS)
	.venv/bin/python -m pytest -n $(AT_ONCE) --dist loadfile

lint: $(DEV_INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: $(DEV_INSTALLED)
	@.venv/bin/python -m bench.product
	@.venv/bin/python -m bench.tiers
	@.venv/bin/python -m bench.rules
	@.venv/bin/python -m bench.handlers
	@.venv/bin/python manage.py evaluate day

# `make prove DRILL=stampede LONG=1 SEED=7`; all drills in their short form without.
prove: $(DEV_INSTALLED)
	@.venv/bin/python manage.py prove $(DRILL) $(if $(LONG),--long) $(if $(SEED),--seed $(SEED))

install: $(INSTALLED)

# The virtual environment goes, the data directory stays.
clean:
	rm -rf .venv tests/clients/node_modules

$(INSTALLED): pyproject.toml constraints.txt deploy/install.sh deploy/requirements.py deploy/llama.cmake deploy/try_llama.py
	@bash deploy/install.sh
	@touch $@

$(DEV_INSTALLED): $(INSTALLED)
	@bash deploy/install.sh dev
	@touch $@

$(TOOLS): $(DEV_INSTALLED) deploy/test-tools.sh $(wildcard tests/clients/package.json)
	@bash deploy/test-tools.sh
	@touch $@

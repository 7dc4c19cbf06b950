# Everything a user or a developer starts, one target each; `make` alone lists them.
.DEFAULT_GOAL := help

# The first Python that is built with PGO and can make a virtual environment: 15 % less CPU for
# a message (docs/decisions/0018). Else whatever Python there is.
PYTHON ?= $(shell for it in python3.11 /usr/bin/python3.11 python3 /usr/bin/python3; do \
  "$$it" bench/interpreter.py 2>/dev/null && command -v "$$it" && exit; done; \
  command -v python3.11 || command -v python3)
JOBS ?= 2
PYTEST_ARGS ?=

BIN := .venv/bin
SETUP := .venv/.set-up
TOOLS := bench/build/smtp_load bench/build/smtp_sink
AS_ROOT := $(filter 0,$(shell id -u))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP) ## virtual environment with Gatepost and the developers' tools

$(SETUP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e . --group dev
	@touch $@

demo: setup ## a relay, an upstream and five clients on loopback: who gets in, and who does not
	$(BIN)/gatepost demo

run: setup ## the same set-up, kept in the foreground to try by hand
	$(BIN)/gatepost demo --keep

peers: setup ## the foreign programs that tests talk to (by apt, where we are root)
	$(BIN)/python -m tests.kit.apt

test: setup peers ## all tests but the slow ones
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

soak: setup peers ## the slow tests: 10,000 idle connections, 2,000 stalling ones
	$(BIN)/pytest --slow -m slow $(PYTEST_ARGS)

fuzz: setup ## 100,000 inputs through each parser
	GATEPOST_FUZZ_EXAMPLES=100000 $(BIN)/pytest -n $(JOBS) tests/fuzz/test_volume.py $(PYTEST_ARGS)

lint: setup ## style and suspicious code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## static types
	$(BIN)/mypy

contracts: setup ## what may import what
	$(BIN)/lint-imports

docs: setup ## the generated pages of docs/
	$(BIN)/python -m docs.generate

bench: setup $(TOOLS) ## ours against the floor and a direct line; BENCH_ARGS="--quick"
	$(BIN)/python bench/run.py $(BENCH_ARGS)

bench-policy: setup ## what rules cost, by their number
	PYTHONPATH=. $(BIN)/python bench/policy.py

bench-beside: setup $(TOOLS) ## how long small messages wait beside large signed ones
	$(BIN)/python bench/beside.py

$(TOOLS): bench/smtp_load.c bench/smtp_sink.c bench/bench_common.h
	$(if $(AS_ROOT),test -e /usr/include/openssl/ssl.h || apt-get install -y -q libssl-dev gcc)
	$(MAKE) -s -C bench

constraints: setup ## pins constraints.txt to what a fresh resolution gives today
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -q 'pip>=25.1'
	build/constraints/bin/python -m pip install -q -e . --group dev
	build/constraints/bin/python -m pip freeze -q --exclude-editable --exclude pip > constraints.txt

clean: ## removes what was built, the virtual environment included
	rm -rf .venv build bench/build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup demo run peers test soak fuzz lint types contracts docs bench bench-policy bench-beside constraints clean

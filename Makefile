# The developer's door. `make` alone prints what can be asked; each verb calls the tool, a script or pytest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

#> TARGET    hardware and software combination, a file of templates/targets; NAME-offline is NAME with OFFLINE=1 (default: cpu)
TARGET ?= cpu
#> OFFLINE   1 builds and runs the variant whose images hold the weights (default: empty)
OFFLINE ?=
#> MODEL     what `make models` fetches and `make demo` serves; embedded needs no download (default: paddleocr-vl-1.6)
MODEL ?= paddleocr-vl-1.6
#> JOBS      documents that `make demo` sends at a time (default: 2)
JOBS ?= 2
#> WEIGHTS   test makes `make demo` use test weights at once (default: try upstream's first)
WEIGHTS ?=
#> LANES     how many lanes of tests run side by side; 0 for one after the other, in the order of the files (default: 2)
LANES ?= 2
#> ARGS      more arguments for pytest, such as ARGS='-k render -x', or for the corpus (default: empty)
ARGS ?=

BIN := .venv/bin
PADDOCK := $(BIN)/paddock
PYTEST := $(BIN)/python -m pytest
VARIANT := $(if $(filter-out 0 no false,$(OFFLINE)),--offline)
SIDE_BY_SIDE := $(if $(filter-out 0,$(LANES)),-n $(LANES) --no-loadscope-reorder)
SHELL_SCRIPTS = .ci/run images/tool/paddock.sh $(wildcard scripts/*.sh scripts/*/*.sh) tool/paddock/building/make-base.sh $(shell find templates -name '*.sh' | LC_ALL=C sort)
DOCKERFILES = $(shell find images -name Dockerfile 2>/dev/null | LC_ALL=C sort)

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@printf '\nvariables\n'; sed -n 's/^#> /  /p' Makefile

# --- the two commands of the README -----------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## set everything up, build, start the cpu stack and parse a document
	@JOBS='$(JOBS)' MODEL='$(MODEL)' WEIGHTS='$(WEIGHTS)' scripts/demo.sh

.PHONY: test
test: setup test-programs ## run every test except the benchmark; needs the engine, and starts it
	@PYTHONUNBUFFERED=1 PADDOCK_REQUIRE_ENGINE=1 $(PYTEST) tests --ignore=tests/bench $(SIDE_BY_SIDE) \
	    --durations-to .paddock/durations.tsv $(ARGS)

# --- setting up -------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: python engine ## make .venv, and have a Docker Engine that answers

.PHONY: test-programs
test-programs: ## have what tests need beside an engine: fonts, file systems, skopeo, minisign
	@scripts/setup/test-programs.sh

.PHONY: python
python: ## make .venv with paddock and the development tools
	@scripts/setup/python.sh

.PHONY: engine
engine: ## install Docker from Debian's packages if it is missing, and start it
	@scripts/setup/engine.sh

.PHONY: engine-stop
engine-stop: ## stop the engine that `make engine` started, and no other
	@scripts/setup/stop-engine.sh

.PHONY: models
models: python ## fetch the weights of MODEL into models/
	@$(PADDOCK) models fetch $(MODEL)

# --- the main job -----------------------------------------------------------------------------------------------------

.PHONY: render
render: python ## write images/ and compose/ from templates/
	@$(PADDOCK) render

.PHONY: tables
tables: python ## write the tables of the documents from code, data and results
	@$(BIN)/python scripts/maintain/write-tables.py

.PHONY: build
build: setup ## build the two images of TARGET
	@$(PADDOCK) build $(TARGET) $(VARIANT)

.PHONY: up
up: setup ## start the stack of TARGET and wait until it has parsed a page
	@$(PADDOCK) up $(TARGET) $(VARIANT)

.PHONY: down
down: python ## stop the stack of TARGET
	@$(PADDOCK) down $(TARGET) $(VARIANT)

.PHONY: status
status: python ## show state, health, ports, model, versions and memory of the stack of TARGET
	@$(PADDOCK) status $(TARGET) $(VARIANT)

.PHONY: logs
logs: python ## show what the containers of TARGET print
	@$(PADDOCK) logs $(TARGET) $(VARIANT)

# --- gates ------------------------------------------------------------------------------------------------------------

.PHONY: unit
unit: python ## run the tests that need no engine
	@$(PYTEST) tests -m 'not engine' $(ARGS)

.PHONY: integration
integration: setup ## run the tests that need an engine
	@PADDOCK_REQUIRE_ENGINE=1 $(PYTEST) tests/integration $(ARGS)

.PHONY: bench
bench: setup ## measure against upstream's way, side by side, and print the table
	@PADDOCK_REQUIRE_ENGINE=1 $(PYTEST) tests/bench -s $(ARGS)

.PHONY: check
check: lint ## lint, and find generated files or document tables that are out of date
	@$(PADDOCK) render --check
	@$(PYTEST) -q tests/generated

.PHONY: lint
lint: python ## ruff, mypy, shellcheck, hadolint, actionlint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/shellcheck $(SHELL_SCRIPTS)
	@test -n '$(DOCKERFILES)' || { echo 'error: images/: found no Dockerfile to check' >&2; exit 1; }
	@$(BIN)/hadolint $(DOCKERFILES)
	@$(BIN)/actionlint -shellcheck=$(BIN)/shellcheck .github/workflows/*.yml

.PHONY: format
format: python ## rewrite the Python files in the house format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: fresh
fresh: engine ## run .ci/run in a new Debian machine with nothing in it (a privileged container)
	@scripts/setup/fresh-machine.sh

.PHONY: corpus
corpus: python ## send test files of other projects' packages through our readers (ARGS='--every 10'; not in the gate)
	@$(BIN)/python scripts/corpus/gather.py
	@PYTHONPATH=templates/image/api $(BIN)/python scripts/corpus/measure.py $(ARGS)

# --- housekeeping -----------------------------------------------------------------------------------------------------

.PHONY: lock
lock: python ## write constraints.txt from pyproject.toml, and the hashes of every list of packages
	@$(BIN)/python scripts/maintain/lock-packages.py $(ARGS)
	@$(BIN)/python scripts/maintain/update-pins.py --offline

.PHONY: sample
sample: python ## draw the sample document of docs/sample again (needs the DejaVu fonts)
	@$(BIN)/python scripts/maintain/make-sample.py

.PHONY: clean
clean: ## remove what demo, tests and checks wrote; .venv, models, images and out/ stay
	@rm -rf out/demo dist .pytest_cache .mypy_cache .ruff_cache
	@find tool tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

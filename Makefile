# Everything a newcomer needs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON := .venv/bin/python
UV_VERSION := 0.13.9
# Kept out of uv.lock: resolved there it would bring several GB of CUDA packages.
TORCH := 2.13.0
INSTALLED := .venv/.installed-torch-$(TORCH)
SKYPILOT := .venv/skypilot/.installed
CLIENTS := $(foreach major,1 2 3,.venv/openai-$(major)/.installed)
TESTS ?= tests
PYTEST_WORKERS ?= 2
SEED ?= 1
TURNS ?= 1

.PHONY: help install up turn test proof bench-graders bench-ingest bench-train bench-gates bench-serving lint browser skypilot clients clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | column -t -s "$$(printf '\t')"

install: $(INSTALLED) ## create .venv with everything, pinned (a second run does nothing)

$(INSTALLED): uv.lock
	@python=$$(command -v python3.11 || command -v python3) || { echo "Python 3.11 is needed: install it (Debian: apt install python3 python3-venv)."; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed, $$("$$python" --version) was found."; exit 1; }; \
	"$$python" -m venv .venv || { echo "Python's venv module is missing: apt install python3-venv."; exit 1; }
	@echo "Installing the packages of uv.lock ..."
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@.venv/bin/uv sync --quiet --frozen --inexact
	@echo "Installing torch $(TORCH) ..."
	@# --no-config: the override in pyproject.toml that keeps torch out of the lock would keep it out here too.
	@if [ -n "$$PIP_FIND_LINKS" ]; then from=(--find-links "$$PIP_FIND_LINKS"); else from=(--torch-backend=auto); fi; \
	.venv/bin/uv pip install --quiet --no-config --python $(PYTHON) "$${from[@]}" torch==$(TORCH)
	@rm -f .venv/.installed-*
	@touch $@
	@echo "Installed."

up: install ## start everything on http://127.0.0.1:8000; the tour on an empty database (DEMO=0: without)
	@exec $(PYTHON) -m flywheel.embedded up

turn: install ## the tour without a terminal, into var/turn.json (RESUME=1, TURNS=2, SEED=3)
	@mkdir -p var/turn && rm -f var/turn.json
	@DATA_DIR="$(CURDIR)/var/turn/data" $(PYTHON) -m flywheel.embedded run $(if $(filter 1,$(RESUME)),,--fresh) -- \
		$(PYTHON) manage.py tour --report "$(CURDIR)/var/turn.json" --turns $(TURNS) --seed $(SEED)

test: lint browser skypilot clients ## linters, types, contracts and all tests
	@$(PYTHON) -m pytest $(TESTS) -n $(PYTEST_WORKERS) --dist loadfile

proof: install browser ## the long sweeps: many kill points, many seeds
	@$(PYTHON) -m pytest $(TESTS) -m proof --timeout 7200

bench-graders: install ## grades a second and the sandbox, beside their peers (FAST=1: under a minute)
	@$(PYTHON) -m flywheel.bench.graders

bench-ingest: install ## rows a second to valid and proved, near-duplicates, contamination, storage, beside their peers (FAST=1: under a minute)
	@$(PYTHON) -m flywheel.bench.ingest

bench-train: install ## a step's cost, time to a pass rate, few-shot, collapse drills, answers a second, beside TRL (over an hour; FAST=1: in about a minute; ARMS="overhead speed": these only)
	@$(PYTHON) -m flywheel.bench.training $(ARMS)

bench-gates: install ## false promotions, power, coverage, early stopping, beside other rules (about half an hour; FAST=1: under a minute)
	@$(PYTHON) -m flywheel.bench.gates

bench-serving: install ## tokens a second and waiting times of fifty chats at once, beside one at a time (FAST=1: under a minute)
	@$(PYTHON) -m flywheel.bench.serving

lint: install ## linters, types, import contracts, Dockerfile and compose file
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy flywheel tasks trainer
	@.venv/bin/lint-imports
	@.venv/bin/hadolint docker/Dockerfile
	@.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	@$(PYTHON) manage.py check

browser: install
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	echo "Installing Chromium for the page tests ..."; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } > /dev/null; \
	else .venv/bin/playwright install chromium; fi \
	|| { echo "The page tests need Chromium, and it could not be installed: install the package chromium."; exit 1; }

skypilot: $(SKYPILOT)

# Its own library loads the tasks that we write, in an environment of its own: it wants older versions of what we use.
$(SKYPILOT): tests/trainer/launchers/skypilot.txt | $(INSTALLED)
	@echo "Installing SkyPilot for the tests of its launcher ..."
	@.venv/bin/uv venv --quiet --clear --no-config --python $(PYTHON) .venv/skypilot
	@.venv/bin/uv pip sync --quiet --no-config --python .venv/skypilot/bin/python $<
	@touch $@

clients: $(CLIENTS)

# Three majors of one package need three environments; what they are written against is the server's wire, not its code.
.venv/openai-%/.installed: tests/contracts/openai-%.txt | $(INSTALLED)
	@echo "Installing the official OpenAI client $*.x for the tests of the contract ..."
	@.venv/bin/uv venv --quiet --clear --no-config --python $(PYTHON) .venv/openai-$*
	@.venv/bin/uv pip sync --quiet --no-config --python .venv/openai-$*/bin/python $<
	@touch $@

clean: ## remove .venv, caches and var/turn (never var/data)
	@rm -rf .venv var/turn var/turn.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Needs make and python3 (3.11 or newer) with its venv module. Everything else is installed into .venv, which is reused,
# in the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The trainer alone; with all that checks and tests need; with what benchmarks need as well
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt $(wildcard agents/kernels/*)
ARGS ?=
TEST_WORKERS ?= 2

# Otherwise waiting OpenMP threads spin, which turns 3 s into 40 s on a busy machine
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help train test test-cluster fuzz test-docker check format bench bench-sizes evidence clean

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'
	@echo '  arguments:  make train ARGS="--game breakout --observations 200000"'

train: $(STAMP) ## install the trainer, then train PPO on Pong with a live noise scale; ends with a report
	$(BIN)/python -m rlgns train $(ARGS)

test: check ## install everything, then run every check and test
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(ARGS)

test-cluster: $(DEV_STAMP) ## run the long tests that `make test` leaves out: clusters of several nodes, whole jobs, killed sweeps, benchmarks against other trainers
	$(BIN)/python -m pytest -n 0 -m cluster $(ARGS)

fuzz: $(DEV_STAMP) ## give the commands 2,700 damaged command lines and files; about 5 minutes
	$(BIN)/python -m tests.fuzz $(ARGS)

test-docker: ## build the image, train in it and on a cluster of its containers; needs a Docker engine
	docker/check.sh $(ARGS)

check: $(DEV_STAMP) ## run the static checks: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## format, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH_STAMP) ## compare speed, starts and memory with Stable-Baselines3, stock RLlib and the machine's limit; about 14 minutes
	$(BIN)/python -m benchmarks.throughput $(ARGS)

bench-sizes: $(BENCH_STAMP) ## measure cost against size: environments, batch, groups; about 10 minutes
	$(BIN)/python -m benchmarks.sizes $(ARGS)

evidence: $(STAMP) ## write docs/results/agreement.md and its figures anew from the tables of finished sweeps
	$(BIN)/python -m benchmarks.evidence $(ARGS)

clean: ## remove .venv and caches, never runs/
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): $(INPUTS)
	$(venv)
	$(PIP_INSTALL) -e '.[train]'
	@touch $@

$(DEV_STAMP): $(INPUTS)
	$(venv)
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(STAMP) $@

define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "rlgns: needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1 | head -n 1`; install it, or name it: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "rlgns: $(PYTHON) has no venv module; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
endef

$(BENCH_STAMP): $(DEV_STAMP)
	$(PIP_INSTALL) -e '.[bench]'
	@touch $@

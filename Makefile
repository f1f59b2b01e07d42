# What a developer does with flowsync. `make` alone lists it. Needs Python 3.11 or later and make.

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test test-others test-all coverage check formatted linted typed
.PHONY: layered format lock check-minimal bench bench-counts bench-gate soak clean

# Tests and benches start hundreds of processes: none should compile everything anew, whatever the
# shell says.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python
# Workers of a test run. Modules stay together (loadscope): what a module shares is made once. They
# begin in the order of tests/conftest.py, long ones first.
JOBS ?= 2
PYTEST := -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder \
	--max-worker-restart 0
SLOWEST := --durations 15
# More words for pytest: make test ARGS="-k manifest -x"
ARGS ?=
ROUNDS ?= 10
FAULTS ?= 200
LIVES ?= 200
KILLS ?= 200
READS ?= 100000
ANSWERS ?= 20000
CLOSINGS ?= 200
UNITS ?= 1000000
# The revision that bench-gate compares with.
BASE ?= HEAD~1

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## Make .venv with flowsync, its extras and its tools, on the oldest Python found
	@scripts/set_up.sh .venv oldest

demo: setup ## Sync a real upstream three times, compare, export: the main job, in two minutes
	@$(PYTHON) scripts/demo.py

quick: setup ## Run the tests that need no server: the rules of the house, and all pure code
	@$(PYTHON) $(PYTEST) tests/unit tests/arch $(ARGS)

test: setup ## Run all tests on the oldest supported Python found
	@scripts/run_tests.sh $(PYTHON) $(PYTEST) $(SLOWEST) $(ARGS)

test-others: ## Run all tests on every other supported Python found
	@scripts/test_others.sh $(PYTEST) $(ARGS)

test-all: test test-others ## Run all tests on every supported Python found

coverage: setup ## Say which lines the tests of `make quick` do not reach
	@$(PYTHON) -m coverage run -m pytest --quiet tests/unit tests/arch $(ARGS)
	@$(PYTHON) -m coverage report

check: formatted linted typed layered ## Check format, lint, types and the import contracts

formatted: setup
	@.venv/bin/ruff format --check

linted: setup
	@.venv/bin/ruff check

typed: setup
	@$(PYTHON) -m mypy
	@$(PYTHON) -c "import basedpyright" 2>/dev/null || \
		$(PYTHON) -m pip install --quiet --only-binary :all: --group pyright || true
	@if $(PYTHON) -c "import basedpyright" 2>/dev/null; then .venv/bin/basedpyright; \
		else echo "basedpyright cannot be installed: left out" >&2; fi

layered: setup
	@.venv/bin/lint-imports --no-logo --no-cache

format: setup ## Format the code and mend what lint can mend
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

lock: ## Pin what pyproject.toml allows today, with digests, in requirements-dev.txt
	@scripts/lock.sh

check-minimal: ## As root: run `make demo` and `make test` in a minimal Debian
	@scripts/check_minimal.sh

bench: setup ## Measure every room, or with SCENARIO=first_small (or all) whole syncs
ifdef SCENARIO
	@$(PYTHON) -m bench.syncs.run $(filter-out all,$(SCENARIO)) $(ARGS)
else
	@mkdir -p .benchmarks
	@$(PYTHON) -m pytest bench --timeout 0 -o faulthandler_timeout=0 \
		--benchmark-json=.benchmarks/floors.json --benchmark-enable --benchmark-group-by func \
		--benchmark-columns median,iqr,min,rounds $(ARGS)
endif

bench-counts: setup ## Count round trips, requests, bytes and encodings, which no machine changes
	@$(PYTHON) -m bench.counts $(ARGS)

bench-gate: setup ## Compare with BASE=HEAD~1, in turns, and fail on what became worse
	@$(PYTHON) -m bench.gate $(BASE) $(ARGS)

soak: setup ## Random faults, kills and memory at size, then tests with I/O ROUNDS=10 times
	@FLOWSYNC_TEST_FRESH=1 FLOWSYNC_FAULTS=$(FAULTS) FLOWSYNC_LIVES=$(LIVES) FLOWSYNC_KILLS=$(KILLS) \
		FLOWSYNC_READS=$(READS) FLOWSYNC_ANSWERS=$(ANSWERS) FLOWSYNC_UNITS=$(UNITS) \
		FLOWSYNC_CLOSINGS=$(CLOSINGS) FLOWSYNC_SEED=$$(date +%s) \
		$(PYTHON) $(PYTEST) --timeout 0 -o faulthandler_timeout=0 -v \
		tests/integration/faults tests/integration/serve/test_changing_upstream.py \
		tests/integration/sync/test_redeclaring_random.py \
		tests/integration/sync/test_closing.py \
		tests/integration/download/test_answers_random.py \
		tests/system/test_kills.py tests/system/test_memory.py $(ARGS)
	@for round in $$(seq $(ROUNDS)); do \
		echo "round $$round of $(ROUNDS)"; \
		FLOWSYNC_TEST_FRESH=1 $(PYTHON) $(PYTEST) --quiet \
			$(wildcard tests/integration tests/system) $(ARGS) || exit 1; \
	done

clean: ## Remove what the other targets made, but not the environments
	@rm -rf .coverage .demo .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache
	@rm -rf .ruff_cache build dist
	@find bench flowsync scripts tests -name __pycache__ -prune -exec rm -rf {} +

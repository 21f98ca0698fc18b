# One command for everything, the same here and in CI.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo check test test-all faults fault-tests mutants simulate bench bench-full bench-peers format serve docs lock lock-peers clean
# Tests start hundreds of processes: compiled once, each begins a third sooner.
unexport PYTHONDONTWRITEBYTECODE

$(STAMP): requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(STAMP)  ## a journey from a mention to an e-mail, on servers of its own
	$(BIN)/chimeway demo $(ARGS)

check: $(STAMP)  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
	$(BIN)/mypy --explicit-package-bases tests/bench/frame tests/bench/whole_journeys.py tests/bench/capacity.py
	$(BIN)/lint-imports --no-cache

# Four on two cores: many a test waits (for a lease, a pause, a process), and then another one works.
test: $(STAMP)  ## the tests of every commit: at most eight minutes on two cores
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not big" $(ARGS)

test-all: $(STAMP)  ## the big ones too: at most forty-five minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal --timeout 2400 $(ARGS)

faults: $(STAMP)  ## thirty minutes of faults on real processes, and a report: ARGS="--help" for less
	$(BIN)/python -m tests.faults $(ARGS)

fault-tests: $(STAMP)  ## the big fault tests alone, with their figures: ARGS="-k agree" for one of them
	$(BIN)/python -m pytest -s -m big --timeout 2400 tests/fault $(ARGS)

mutants: $(STAMP)  ## takes out what keeps each promise, and sees whether a test misses it: ARGS="signals" for some
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

simulate: $(STAMP)  ## seeded scenarios of the real engine on a real PostgreSQL: ARGS="--count 5000"
	$(BIN)/python -m chimeway.testing.simulation real $(ARGS)

bench: $(STAMP)  ## measures, in pairs on a PostgreSQL of its own, into docs/benchmarks: ARGS="B2 B4 --quick"
	$(BIN)/python -m tests.bench $(ARGS)

bench-full: $(STAMP)  ## the same, with ten million parked runs too: takes hours and tens of GiB
	$(BIN)/python -m tests.bench --full $(ARGS)

bench-peers: $(STAMP)  ## beside DBOS, Oban and others, in an environment of their own that this makes (Python 3.12 or newer)
	$(BIN)/python -m tests.bench B8 $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

serve: $(STAMP)
	$(BIN)/chimeway serve

docs: $(STAMP)  ## draws the plan of the house into its page, and builds the site into build/site
	$(BIN)/python -m tests.docs.rooms
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: $(STAMP)  ## versions and hashes only: no address of any registry, and not this package itself
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-header --extra dev --output-file requirements/dev.txt pyproject.toml requirements/build.in
	sed -i '/^# WARNING: pip install will require/{N;N;N;d;}' requirements/dev.txt

lock-peers: $(STAMP)  ## likewise what bench B8 compares with, by the Python of its own environment
	python="$$($(BIN)/python -m tests.bench.peers.environment | tail -1)" && "$$python" -m pip install --quiet pip-tools && "$$python" -m piptools compile --quiet --upgrade --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-header --output-file requirements/peers.txt requirements/peers.in

clean:
	rm -rf $(VENV) .venv-peers dist build

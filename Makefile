# segue: what a developer or a curious operator types. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
ARGS ?=
unexport PYTHONDONTWRITEBYTECODE # Where it is set, each of hundreds of processes compiles all of segue anew.
SIDE_BY_SIDE := -n 3 --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long style check bench bench-apps bench-planner bench-drain bench-sim faults lab clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: ## Install what the machine needs (mmdebstrap, Python's venv), then segue into .venv
	command -v mmdebstrap >/dev/null && $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	       apt-get install -y -qq --no-install-recommends mmdebstrap python3-venv; }
	$(MAKE) --no-print-directory $(READY)

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'segue needs Python 3.11 or newer; choose one with make PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY) ## Two hosts, a guest under client traffic, moved there and back (ARGS=--json for data)
	@$(SUDO) $(BIN)/python -m demo $(ARGS)

test: $(READY) ## The tests, those in the lab too, without the long tail (needs root)
	$(SUDO) $(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE) $(ARGS)

test-long: $(READY) ## All tests, the long tail too: more than an hour
	$(SUDO) env SEGUE_LONG=1 $(BIN)/python -m pytest --timeout 900 $(SIDE_BY_SIDE) $(ARGS)

style: $(READY) ## Style, types and layers
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo > /dev/null || $(BIN)/lint-imports --no-logo

check: style ## Style, types, layers, sizes and the tests that need no lab
	SEGUE_SEEDS=$${SEGUE_SEEDS:-200} $(BIN)/python -m pytest -m "not lab and not slow" $(SIDE_BY_SIDE) $(ARGS)

bench: $(READY) ## Compare with libvirt and plain QEMU, same guests, same load: out/bench/ (ARGS=--help)
	@$(SUDO) $(BIN)/python -m bench.engine $(ARGS)

bench-apps: $(READY) ## Compare with Podman's checkpoint and restore: out/bench/apps.json (ARGS=--help)
	@$(SUDO) $(BIN)/python -m bench.apps $(ARGS)

bench-planner: $(READY) ## Compare the fleet's planners with Ganeti's hbal: out/bench/planner.json (ARGS=--help)
	@command -v hbal >/dev/null || $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends ganeti-htools
	@$(BIN)/python -m bench.planner $(ARGS)

bench-sim: $(READY) ## 10,000 simulated hosts and 100,000 guests on one controller: out/bench/sim.json (ARGS=--help)
	@$(BIN)/python -m bench.sim $(ARGS)

bench-drain: $(READY) ## A drain beside what its link allows, in the lab: out/bench/drain.json (ARGS=--help)
	@$(SUDO) $(BIN)/python -m bench.drain $(ARGS)

faults: $(READY) ## Random faults in real migrations: out/faults.json (SEEDS=20); without SEEDS the slow test cases first
ifndef SEEDS
	$(SUDO) $(BIN)/python -m pytest tests/lab -m "slow or not slow" -k "migrate" $(ARGS)
endif
	@$(SUDO) $(BIN)/python -m faults --seeds $(or $(SEEDS),20)

lab: $(READY) ## Three hosts and a client on this machine, to try things on
	@$(SUDO) $(BIN)/segue lab up $(ARGS)

clean: ## Remove what was built here; the lab's image cache stays (segue lab down --help)
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

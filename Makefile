# Everything a newcomer needs; `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# container images often set it: then each of the hundreds of programs that tests start compiles all it imports
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WEB_BUILT := src/towpath/gui/built/.sources
WEB_SOURCES := $(shell find web -name node_modules -prune -o -type f -print) docs/reference/openapi.json

# What the machine must bring: Python's venv, the GridFTP programs that tests and demo talk to, MyProxy and a
# PAM of its own for the tests, what breaks networks and clocks there (nftables, faketime), a browser for the
# pages (chromium), an HTTP proxy (tinyproxy), and what the bench compares with: OpenSSH, gfal-rm and rclone. The
# packages of MyProxy and OpenSSH may start their servers on the machine.
DEBIAN_PACKAGES := python3-venv openssl iproute2 globus-gridftp-server-progs globus-gass-copy-progs globus-proxy-utils \
  myproxy myproxy-server libpam-wrapper openssh-client openssh-server gfal2-util-scripts python3-gfal2-util \
  gfal2-plugin-gridftp gfal2-plugin-file nftables faketime rclone chromium tinyproxy-bin

.PHONY: help deps setup demo test test-long faults simulate fuzz compat conformance openapi check format bench clean lock web-dev screenshots

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

deps: ## install the Debian packages (as root)
	@if ! dpkg -s $(DEBIAN_PACKAGES) >/dev/null 2>&1; then \
	  [ "$$(id -u)" = 0 ] || { echo "towpath: missing Debian packages; as root: apt-get install $(DEBIAN_PACKAGES)" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN_PACKAGES); \
	fi

setup: $(READY) $(WEB_BUILT) ## make .venv with everything in it

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# not by pip, which does it on one processor
	$(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib src
	@touch $@

$(WEB_BUILT): $(READY) hatch_build.py $(WEB_SOURCES)
	$(BIN)/python hatch_build.py
	@touch $@

demo: setup ## move a real tree between two GridFTP servers, killing the worker half-way
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory deps; fi
	$(BIN)/towpath demo

# three processes for two cores: nearly half of the time tests wait for servers
test: setup ## the tests (<= 12 minutes on 2 cores)
	$(BIN)/pytest -n 3 --dist loadgroup -m "not long"

test-long: setup ## campaigns and matrices
	$(BIN)/pytest -m long -n 0 --timeout 3600

faults: setup ## the fault campaign, as root; SEED=n, FAULTS=n
	PYTHONPATH=tests $(BIN)/python -m campaign --seed $(or $(SEED),1) --faults $(or $(FAULTS),2000)

simulate: setup ## the engine in virtual time under faults: SEED=n TASKS=n WORLDS=n ROUGHNESS=x
	PYTHONPATH=tests $(BIN)/python -m simulation --seed $(or $(SEED),1) --tasks $(or $(TASKS),2000) \
	  --worlds $(or $(WORLDS),2) --roughness $(or $(ROUGHNESS),1)

fuzz: setup ## bent and random input against the GridFTP server: SECONDS=n in all, SEED=n ONLY=names AGAIN=input
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) \
	  $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again '$(AGAIN)')

compat: setup ## every command of the globus program, against a deployment; writes docs/reference/compatibility-cli.md
	@PYTHONPATH=tests $(BIN)/python -m compat $(if $(ONLY),--only '$(ONLY)')

conformance: setup ## our answers against the SDK's examples; writes docs/reference/compatibility.md
	PYTHONPATH=tests $(BIN)/python -m conformance

openapi: setup ## the documents of the APIs; writes docs/reference/openapi*.json
	PYTHONPATH=tests $(BIN)/python tests/docs/test_openapi.py

screenshots: setup ## pictures of every page into docs/images/web; ONLY=names
	PYTHONPATH=tests $(BIN)/python -m screenshots $(if $(ONLY),--only '$(ONLY)')

check: setup ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python web/npm.py run --silent check

format: setup ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python web/npm.py run --silent format

web-dev: setup ## the web interface, rebuilt and reloaded as it is edited; TOWPATH=https://127.0.0.1:8443
	$(BIN)/python web/npm.py run dev

bench: setup ## the benchmarks; AREA=name for one, ONLY=pattern for some of its contests
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory deps; fi
	$(BIN)/python -m bench $(AREA) $(if $(ONLY),--only '$(ONLY)')

lock: setup ## resolve the dependencies again into requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --python-version 3.11 --group dev pyproject.toml --upgrade -o requirements.lock

clean: ## remove what was made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build web/node_modules src/towpath/gui/built

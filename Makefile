# The commands of this repository; `make test` is what a change must pass.
.DEFAULT_GOAL := help
.PHONY: help setup setup-conformance setup-gateway setup-browser setup-peers run gen lint sbom test \
	test-all soak bench bench-peers bench-compare

# A uv that is missing is installed beside .venv, since `uv sync` removes what is not locked.
UV_VENV := build/uv
export PATH := $(PATH):$(CURDIR)/$(UV_VENV)/bin

RUN := uv run --no-sync

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-17s %s\n", $$1, $$2 }'

setup: ## install everything that is locked into .venv
	@command -v uv >/dev/null || { python3 -m venv $(UV_VENV) && $(UV_VENV)/bin/pip install --quiet uv; }
	uv sync --frozen

setup-conformance: setup ## build the runners of tests/conformance, in Node and Go, into build/
	@sh tools/setup_conformance.sh

setup-gateway: setup ## install the clients that tests/gateway runs, into build/
	@sh tools/setup_gateway.sh

setup-browser: setup-gateway ## install the browser that tests/browser drives, and build its pages
	@sh tools/setup_browser.sh

# Not through `uv run`: a Ctrl-C must reach tools/run.py once.
run: setup ## serve the chat example, talk to it, and leave the server running
	@.venv/bin/python -m tools.run

test: setup setup-conformance setup-browser ## lint, then every test that is not slow, with the time of each stage
	@$(RUN) python -m tools.test

test-all: setup setup-conformance setup-browser ## the same with the slow tests
	@$(RUN) python -m tools.test --all

soak: export HOLDFAST_SOAK_COUNT ?= 100
soak: export HOLDFAST_SOAK_SEEDS ?= 500
soak: setup ## kill servers under load: HOLDFAST_SOAK_COUNT (100) directories, five deaths each; simulate HOLDFAST_SOAK_SEEDS (500) seeds in each mode
	$(RUN) pytest tests/crash/test_soak.py
	$(RUN) python -m tests.simulation --count $(HOLDFAST_SOAK_SEEDS)

lint: ## linters, type checker, import rules, protos
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy --strict server python_sdk tools examples bench
	$(RUN) lint-imports
	$(RUN) hadolint Dockerfile
	$(RUN) buf lint
	$(RUN) buf format --diff --exit-code
	$(RUN) python -m tools.gen_protos --check

sbom: setup ## write what the server is made of, from uv.lock, to build/sbom.json (CycloneDX)
	uv lock --check
	@mkdir -p build
	uv export --quiet --format cyclonedx1.5 --frozen --no-dev --all-extras --output-file build/sbom.json

gen: ## regenerate the Python code of the protos, docs/configuration.md and docs/metrics.md
	$(RUN) python -m tools.gen_protos
	$(RUN) python -m tools.gen_configuration
	$(RUN) python -m tools.gen_metrics

setup-peers: setup ## install the systems that we are measured beside, into build/; half a gigabyte
	@sh bench/peers/install.sh

bench: setup-peers ## measure all, and write docs/performance.md; takes minutes, and wants the machine for itself
	GRPC_VERBOSITY=ERROR $(RUN) python -m bench

bench-peers: setup-peers ## measure only Holdfast beside its peers, and write their table and charts
	GRPC_VERBOSITY=ERROR $(RUN) python -m bench.peers

bench-compare: setup ## measure this tree against an older one, in one run: REV=...
	GRPC_VERBOSITY=ERROR $(RUN) python -m bench.compare $(REV)

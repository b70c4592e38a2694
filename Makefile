# The commands of this repository; `make test` is what a change must pass.
.PHONY: setup setup-conformance run gen lint test test-all

# A uv that is missing is installed beside .venv, since `uv sync` removes what is not locked.
UV_VENV := build/uv
export PATH := $(PATH):$(CURDIR)/$(UV_VENV)/bin

RUN := uv run --no-sync

setup:
	command -v uv >/dev/null || { python3 -m venv $(UV_VENV) && $(UV_VENV)/bin/pip install --quiet uv; }
	uv sync --frozen

# The runners of tests/conformance in other languages; see tools/setup_conformance.sh.
setup-conformance: setup
	sh tools/setup_conformance.sh

# Not through `uv run`: a Ctrl-C must reach tools/run.py once.
run: setup
	.venv/bin/python -m tools.run

gen:
	$(RUN) python -m tools.gen_protos

lint:
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy --strict server python_sdk tools examples
	$(RUN) lint-imports
	$(RUN) hadolint Dockerfile
	$(RUN) buf lint
	$(RUN) buf format --diff --exit-code
	$(RUN) python -m tools.gen_protos --check

test: setup setup-conformance lint
	$(RUN) pytest -m "not slow"

test-all: setup setup-conformance lint
	$(RUN) pytest

# The commands of this repository; `make test` is what a change must pass.
.PHONY: setup gen lint test test-all

# A uv that is missing is installed beside .venv, since `uv sync` removes what is not locked.
UV_VENV := build/uv
export PATH := $(PATH):$(CURDIR)/$(UV_VENV)/bin

RUN := uv run --no-sync

setup:
	command -v uv >/dev/null || { python3 -m venv $(UV_VENV) && $(UV_VENV)/bin/pip install --quiet uv; }
	uv sync --frozen

gen:
	$(RUN) python -m tools.gen_protos

lint:
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy --strict server python_sdk tools
	$(RUN) lint-imports
	$(RUN) buf lint
	$(RUN) buf format --diff --exit-code
	$(RUN) python -m tools.gen_protos --check

test: setup lint
	$(RUN) pytest -m "not slow"

test-all: setup lint
	$(RUN) pytest

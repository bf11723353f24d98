# The two commands a stranger needs: `make demo` and `make test`. Both do all their own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
RUN := .venv/bin

.PHONY: demo test check setup lint types unit format schema compiled bench clean

demo: setup           ## the main job on embedded defaults; `make demo ARGS=--keep` leaves it running
	$(RUN)/jobgate demo $(ARGS)

test: setup           ## everything: lint, types, architecture, every test with every real part that can be had
	.ci/real-parts
	$(MAKE) --no-print-directory lint types
	$(RUN)/pytest -n 2 --dist loadfile --ignore=tests/e2e/test_image.py $(ARGS)
	$(RUN)/pytest tests/e2e/test_image.py   # on its own: building an image starves whatever runs beside it
	.ci/coverage
	.ci/compiled-tests

check: setup lint types unit   ## what every commit passes; quick

setup: .venv/.done

.venv/.done: uv.lock pyproject.toml .ci/bootstrap
	.ci/bootstrap
	touch $@

lint:
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .

types:
	$(RUN)/mypy

unit:
	$(RUN)/pytest -q -n 2 tests/unit tests/gateway tests/test_*.py

format: setup
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

schema: setup         ## regenerate rules/jobgate.schema.json from the models
	$(RUN)/jobgate check --print-schema > rules/jobgate.schema.json

compiled: setup       ## the package as the image has it, in .jobgate/compiled
	.ci/compile

bench: setup          ## every number the README states, as ratios in one run
	.ci/compile || [ $$? = 3 ]
	$(RUN)/python -m bench

clean:
	rm -rf .venv .jobgate .mypy_cache .pytest_cache .ruff_cache .hypothesis

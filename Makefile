# The commands of this repository. `make setup` runs before each of them and is quick when done.
.DEFAULT_GOAL := help
.PHONY: help setup demo test fast lint format bench docs

help: ## say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: ## make this machine ready (packages, Podman, .venv, base image); as root or with sudo
	@scripts/setup

demo: setup ## a scripted agent in a real sandbox, step by step
	@.venv/bin/python scripts/demo.py

test: setup ## everything: style, types, unit tests, real containers, coverage
	@scripts/test

fast: setup ## style, types and the tests that need no container
	@scripts/test fast

lint: setup ## style, types and the import rules
	@scripts/test lint

format: setup ## let ruff format the code
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

bench: setup ## launch beside plain podman: medians and ratios
	@.venv/bin/python benchmarks/launch/run.py

docs: setup ## write the reference pages from the code, check all pages, show unreleased changes
	@.venv/bin/python scripts/docs.py
	@.venv/bin/python -m pytest -q tests/rules/test_docs.py tests/core/test_limits_page.py tests/escape/test_promises_page.py
	@.venv/bin/towncrier build --draft --version next

# `make test` is what CI runs. It installs what it needs: a virtual environment, and as root on Debian a Redis, Java and Maven.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help venv lock services check lint test demo broker bench bench-detection bench-throughput clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

venv: $(STAMP) ## make .venv with Gnomon and its development tools

$(STAMP): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

lock: ## write requirements.lock anew after a change of pyproject.toml; LOCK=--upgrade takes the newest that fit
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command 'make lock' --output-file requirements.lock $(LOCK) pyproject.toml

services: ## install what integration tests need, as far as rights allow
	@bash tests/support/install_services

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint ## ruff, mypy and every test but those that need a broker
	$(BIN)/pytest -q -m 'not integration'

test: $(STAMP) services lint ## everything: ruff, mypy, all tests, on a real Kafka and a real Redis
	$(BIN)/pytest -q

demo: $(STAMP) ## Gnomon on one machine, with made-up traffic
	$(BIN)/gnomon demo

broker: $(STAMP) ## a Kafka and a Redis on this machine to try Gnomon on, until Ctrl-C
	@bash tests/support/install_services broker
	$(BIN)/python tests/support/local_services.py

bench: $(STAMP) ## print figures of throughput and detection quality
	$(BIN)/python -m benchmarks

bench-throughput: $(STAMP) .cache/quix/bin/python ## print pairs a second and CPU a pair, against what a user would pick instead
	$(BIN)/python -m benchmarks.throughput

.cache/quix/bin/python:
	$(PYTHON) -m venv .cache/quix
	.cache/quix/bin/pip install --quiet --disable-pip-version-check 'quixstreams>=3.28,<4' 'river>=0.26.1,<0.27' 'orjson>=3.10,<4'

bench-detection: $(STAMP) ## print how soon changes are found, against River's detectors, and how often there was none
	$(BIN)/python -m benchmarks.detection

clean: ## remove caches and the virtual environment
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist ./*.egg-info

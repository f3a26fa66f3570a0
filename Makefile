# `make` lists what there is. Everything runs in .venv; in another environment: make VENV=$CONDA_PREFIX ...
VENV ?= .venv
PYTHON ?= python3
SHELL := /bin/bash
INSTALLED := $(VENV)/.bitbook-installed
export PATH := $(abspath $(VENV))/bin:$(PATH)
export OMP_WAIT_POLICY := PASSIVE
LANES ?= 2

.PHONY: help install reproduce test lint lab bench published lock

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED)  ## the pinned packages, once

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("bitbook needs Python 3.11 or newer: make PYTHON=...") if sys.version_info < (3, 11) else None'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What runs share comes first; --single-item, since DVC locks what it looks at, and two lanes must not meet. DVC takes seconds to
# start, so each takes four runs. Whatever is wrong in a lane is left to the last line, which does and says it in order.
reproduce: $(INSTALLED)  ## run what is not up to date, LANES=2 runs at a time; pages in results/report/index.html
	@test -w . || { echo "$$PWD is read-only: copy it to a folder of your own"; exit 1; }
	@test -e .git || printf '[core]\n    no_scm = true\n' > .dvc/config.local  # a zip of the project is no clone
	dvc pull --quiet data.dvc
	dvc repro --glob 'clean@*' 'net@*'
	-dvc stage list --name-only | grep '^run@' | xargs -r -n 4 -P $(LANES) dvc --wait-for-lock repro --single-item
	dvc repro

test: $(INSTALLED)  ## what people wait for; ARGS=--slow adds tests of minutes
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(INSTALLED)  ## style, common mistakes and types
	ruff check
	ruff format --check
	mypy

lab: $(INSTALLED)  ## run the notebooks interactively
	jupyter lab notebooks

bench: $(INSTALLED)  ## timings, as ratios to the peers'
	@for script in bench/*.py; do echo "== $$script"; python $$script || exit 1; done

published: $(INSTALLED)  ## bring finished runs into published/ and their numbers into the pages
	bitbook publish
	bitbook pages

lock:  ## resolve requirements.lock anew from pyproject.toml
	uv pip compile --universal --python-version 3.11 --all-extras --generate-hashes \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

# make            install, run the pipeline on the demo voice, say where the report is
# make install    install only
# make test       install the test packages, make check, run every test
# make test-all   every test, without make check
# make test-fast  the unit tests alone, less than a minute
# make check      style, types, imports, and the docs
# make docs       build the docs and open them
# make attack     5,000 hostile inputs over all entrances, minutes
# make bench      the short set of benchmarks
# make real       download real speech and a real Whisper, and measure how well it hears
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1
export NO_MKDOCS_2_WARNING := 1
# Byte code is kept: without it each process of the tests compiles everything again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: run install test test-all test-fast check docs attack bench real
run: .venv/installed
	@timbre repair --quiet
	@timbre hooks --ask
	dvc repro
	@timbre summary
	@echo 'next      source .venv/bin/activate, which puts timbre, dvc and mlflow on your PATH'

install: .venv/installed

# Both at once: each tool of `check` uses one core.
test: .venv/installed-test
	@$(MAKE) --no-print-directory --jobs=2 check test-all

test-all: .venv/installed-test
	python -m pytest -n auto --dist worksteal

test-fast: .venv/installed-test
	python -m pytest -n logical --dist worksteal tests/unit

check: .venv/installed-test
	ruff check .
	ruff format --check --diff .
	mypy
	lint-imports --no-cache --no-logo
	mkdocs build --strict --quiet

docs: .venv/installed-test
	mkdocs build --strict --quiet
	@python -m webbrowser -t "file://$(CURDIR)/site/index.html" > /dev/null
	@echo 'site/index.html'

# seeded: `python -m tests.attack --seed 99` tries others
attack: .venv/installed-test
	python -m tests.attack

bench: .venv/installed
	python -m benchmarks.noop --rounds 3
	python -m benchmarks.diff --rounds 3
	python -m benchmarks.data_path --hours 0.5 --silero-hours 0.1
	python -m benchmarks.encoding --size tiny --runs 2
	python -m benchmarks.estimate --size tiny
	python -m benchmarks.speaking --size tiny --runs 2
	python -m benchmarks.table

real: .venv/installed
	python -m benchmarks.real_speech
	python -m benchmarks.cleaning

# The marker is touched last: a broken install is tried again.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("timbre needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import os, shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(None if free > 4.5 or os.path.exists(".venv") else f"The packages take 3.5 GB and {free:.1f} GB are free on this disk. Make room for 4.5 GB, then run make again.")'
	@echo 'Installing into .venv: about 3.5 GB, more with a CUDA build of torch. It takes minutes, depending on the network.'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/installed-test: .venv/installed
	@echo 'Installing the packages for tests and docs: about 0.5 GB.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

# make          set up, run the pipeline on the embedded default, say where the report is
# make test     set up, check style and types, run every test
# make test-fast  the unit tests alone, about a minute
# make check    ruff and mypy
# make bench    the short set of benchmarks
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1

.PHONY: run test test-fast check bench
run: .venv/installed
	dvc repro
	@timbre summary

test: .venv/installed-test check
	python -m pytest -n logical --dist worksteal

test-fast: .venv/installed-test
	python -m pytest -n logical --dist worksteal tests/unit

check: .venv/installed-test
	ruff check .
	ruff format --check --diff .
	mypy
	lint-imports --no-cache --no-logo

bench: .venv/installed
	python -m benchmarks.noop
	python -m benchmarks.diff
	python -m benchmarks.data_path --hours 1 --silero-hours 0.25
	python -m benchmarks.encoding --size tiny
	python -m benchmarks.estimate --size tiny
	python -m benchmarks.speaking --size tiny
	python -m benchmarks.table

# The marker is touched last: a broken install is tried again.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("timbre needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

# `make demo` and `make test` do all the set-up: Python 3.10+ and pip are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests run in so many processes besides this one, file by file; 0: in this one.
JOBS   ?= 2

.PHONY: venv demo test lint docs clean

venv: $(STAMP)

$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Keyslice needs Python 3.10 or newer; say which: make PYTHON=python3.12 venv")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[test,docs,benchmark,cluster,dicom]"
	# Its client alone is tried against the annotation server; all that it depends on would be gigabytes.
	-$(BIN)/python -m pip install --quiet --no-deps monailabel
	touch $@

# A CT and three key slices a structure in; label map, picture and report out (demo/).
demo: $(STAMP)
	$(BIN)/python -m tools.demo demo

test: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

# The docs site: open site/index.html. A broken link fails. Needs no network once everything is installed.
docs: $(STAMP)
	$(BIN)/python -m mkdocs build --quiet --strict

clean:
	rm -rf demo site build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# make demo: the main job on the bundled digits.   make test: all tests.   Each sets up .venv by itself.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/demo.stamp
	$(BIN)/cenote train digits

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Cenote needs Python 3.11 or newer; none was found. Say make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/demo.stamp

$(VENV)/lint.stamp: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache

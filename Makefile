# make demo: the main job on the bundled digits.   make test: all tests.   Each sets up .venv by itself.
# make bench: side by side with PyTorch, Keras and onnxruntime, which go into .venv-bench; ARGS="--only mlp" for a part.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint bench clean

demo: $(VENV)/demo.stamp
	$(BIN)/cenote train digits

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

BENCH_VENV ?= .venv-bench
bench: $(BENCH_VENV)/bench.stamp
	$(BENCH_VENV)/bin/python bench/run.py --write $(ARGS)

$(BENCH_VENV)/bench.stamp: bench/requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Cenote needs Python 3.11 or newer; none was found. Say make PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	echo '*' > $(BENCH_VENV)/.gitignore
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	# One by one: a peer that does not install here is a row "not installed", and keeps no other out.
	@grep -v '^#' bench/requirements.txt | while IFS= read -r peer; do \
		printf '%s\n' "$$peer" > $(BENCH_VENV)/peer.txt; index=; \
		case "$$peer" in torch*) index="--extra-index-url https://download.pytorch.org/whl/cpu --retries 1";; esac; \
		$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $$index \
			--requirement $(BENCH_VENV)/peer.txt < /dev/null || echo "not installed: $$peer"; \
	done
	@touch $@

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

# Two commands for a fresh machine: `make demo` and `make test`. Each sets everything up itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONWARNINGS ?=

.PHONY: demo test slow campaign check mutate docs docs-check clean

demo: $(VENV)/ready
	$(BIN)/secateur compare digits --methods dual --keep 0.1,0.3 --out demo-out --force

test: $(VENV)/ready-dev
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --doctest-modules --doctest-glob=README.md

slow: $(VENV)/ready-dev
	$(BIN)/pytest -m slow -n 2 --ignore=tests/scale/test_ray.py tests
	$(BIN)/pytest -m slow tests/scale/test_ray.py # alone: Ray gives up where it starts slowly

campaign: $(VENV)/ready-dev
	$(BIN)/python -m tests.campaign --report benchmarks/campaign.md

check: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

mutate: $(VENV)/ready-dev
	$(BIN)/python -m tests.mutate

docs: $(VENV)/ready-docs
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W -q docs docs/_build

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/ready-docs: $(VENV)/ready-dev
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) demo-out docs/_build

# Python 3.11 or newer, git and make are all this needs. `make help` lists what there is.

# The first of these that runs and is new enough; the tested one comes first. Override: make PYTHON=/path/to/python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done),python3)

# What users have: no torchvision. Everything but the vision tests runs here.
VENV := .venv
# .venv with timm and torchvision on top, for the tests marked "vision".
VISION := .venv-vision
PIP_OPTIONS := --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test format lint types test-main test-vision venv clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
		awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/installed ## Install, then run two real targets to a verdict
	$(VENV)/bin/regraft demo

test: lint types test-main test-vision ## Install, then run every check: format, lint, types, tests

format: $(VENV)/installed ## Format the code and mend what ruff can mend
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

lint: $(VENV)/installed ## Check format and lint
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(VENV)/installed ## Check types
	$(VENV)/bin/mypy

# A process for each core, and one thread in each: in small networks threads only wait for each other. Files come
# in the order of tests/conftest.py; by itself xdist would leave those with few tests, however long, for the end.
PYTEST := -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
test-main test-vision: export OMP_NUM_THREADS := 1

test-main: $(VENV)/installed ## Run the tests that need no torchvision
	$(VENV)/bin/python $(PYTEST)

test-vision: $(VISION)/installed ## Run the tests that need timm and torchvision
	$(VISION)/bin/python $(PYTEST) -m vision

venv: ## Create .venv with nothing in it yet
	@if [ ! -x $(VENV)/bin/pip ]; then \
		$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
			echo "regraft needs Python 3.11 or newer; found '$(PYTHON)' ($$($(PYTHON) --version 2>&1))." >&2; \
			echo "Say where one is: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }; \
		echo "Creating $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); fi

# The stamps are written last, so an interrupted installation is taken up again by the next call.
$(VENV)/installed: pyproject.toml constraints.txt | venv
	$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	@touch $@

$(VISION)/installed: $(VENV)/installed .ci/vision_environment.py
	$(VENV)/bin/python .ci/vision_environment.py $(VISION)
	$(VENV)/bin/python -m pip --python $(VISION)/bin/python install $(PIP_OPTIONS) \
		--no-deps -c constraints.txt timm torchvision
	@touch $@

clean: ## Remove both environments and what the tools left; runs stay
	rm -rf $(VENV) $(VISION) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

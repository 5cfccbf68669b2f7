# Two targets matter: `make quickstart` does the main job on a fresh clone, `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: quickstart test lint figures

quickstart: $(READY)
	$(BIN)/scorefield quickstart

# Two workers of one thread each; what goes together is said in tests/conftest.py.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadgroup --no-loadscope-reorder

figures: $(READY)  # the README's pictures, made by the commands it names
	rm -rf build/figures
	$(BIN)/scorefield demo score-field --out build/figures
	$(BIN)/scorefield quickstart --out build/figures/quickstart
	cp build/figures/score-field.gif build/figures/ddpm-ddim.png build/figures/low-density.png docs/images/
	cp build/figures/quickstart/samples.png docs/images/quickstart-samples.png
	cp build/figures/quickstart/reverse.png docs/images/quickstart-reverse.png

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "scorefield needs Python 3.11 or newer; set PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $(READY)

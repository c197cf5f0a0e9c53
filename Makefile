# Two commands on a machine that has only Python and make:
#   make demo    own virtual environment, install, then `mmcache demo`
#   make test    the same environment, then every check that CI runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow fuzz lint format typecheck install bench-extract bench-epoch bench-fuse bench-step bench-store bench-sweep structure clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/mmcache demo

demo/cache/epic.zarr/zarr.json: | $(STAMP)
	$(BIN)/mmcache demo

test: lint typecheck
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# Every reader of user files on 500 damaged inputs: what becomes of each, within ten minutes.
fuzz: $(STAMP)
	$(BIN)/python tests/fuzz/run.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy needs a folder named mmcache; the link gives it one without moving the parts.
typecheck: $(STAMP)
	mkdir -p .typecheck && ln -sfn .. .typecheck/mmcache
	MYPYPATH=.typecheck $(BIN)/mypy -p mmcache.store -p mmcache.common -p mmcache.extract -p mmcache.fuse -p mmcache.cli
	$(BIN)/mypy package/__init__.py

# Entries a folder, lengths of files and functions, import circles: what tests/test_architecture.py holds in bounds.
structure: $(STAMP)
	$(BIN)/python tests/test_architecture.py

bench-extract: $(STAMP)
	$(BIN)/python benchmarks/bench_extract.py

bench-epoch: $(STAMP)
	$(BIN)/python benchmarks/bench_epoch.py

bench-fuse: $(STAMP)
	$(BIN)/python benchmarks/bench_fuse.py

bench-step: $(STAMP)
	$(BIN)/python benchmarks/bench_step.py

bench-store: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python benchmarks/bench_store.py

bench-sweep: $(STAMP) demo/cache/epic.zarr/zarr.json
	$(BIN)/python benchmarks/bench_sweep.py --separate
	$(BIN)/python benchmarks/bench_sweep.py --separate --k 4
	$(BIN)/python benchmarks/bench_sweep.py --separate --precision bf16
	$(BIN)/python benchmarks/bench_sweep.py --separate --precision bf16 --k 4
	$(BIN)/python benchmarks/bench_sweep.py --shared

clean:
	rm -rf $(VENV) .typecheck build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

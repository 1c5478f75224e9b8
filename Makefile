# make demo    Table 1 in miniature on this machine, from nothing: about a quarter of an hour on 2 cores
# make test    the tests
# make setup   .venv/ with the command and the test tools (the others do this themselves when they must)
# make tables  the paper's tables and figures, from the committed records
# make bench   speed against every peer at hand, on the CPU; AUTHORS=PATH, a checkout of k-diffusion, adds its code;
#              WRITE=benchmarks/results/cpu writes the table that is committed; MINUTES=60 instead of nine and a half, which
#              a slow machine needs for all cases; PROCESSES=5, of a training step's sides, one after another: how far
#              their ratios go, in nearly as many times the time
# make lint    style, types, import layers
# make test-slurm  the tests that need a real SLURM: installs Debian's packages, starts a cluster on this machine, ends it
# make test-gpu  parity, golden curve and samplers on this machine's card (skipped, with a word, without one)
# make wheels  build/wheels/: what a machine with its own torch and no network needs besides (benchmarks/card.md);
#              FOR=3.12 is its Python, HAS="pillow rich" what it has already
#
# PYTHON=python3.12 chooses the interpreter, TORCH_INDEX=https://... another build of torch (a CPU or ROCm index).

PYTHON ?= python3
TORCH_INDEX ?=
FOR ?=
HAS ?=
TORCH := torch==2.13.0
NATTEN := natten==0.21.7
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test test-gpu test-slurm wheels tables bench lint clean

setup: $(READY)

# natten is built against the torch that is already there, so without build isolation; it is an extra, and its absence
# stops nothing.
$(READY): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "hdit-repro needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0])'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	NATTEN_N_WORKERS=2 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps $(NATTEN) \
		|| echo "natten could not be built here; neighborhood attention runs in plain torch"
	touch $(READY)

demo: $(READY)
	$(BIN)/hdit-repro submit table1 --scale smoke --wait
	$(BIN)/hdit-repro report --scale smoke

# A file's tests in one process: what they share, such as ten trained rows, is made once. Compiled Python is kept: tests
# start the command hundreds of times.
test: $(READY)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile

test-slurm: $(READY)
	tests/slurm/run.sh $(BIN)/python

# With the machine's own torch where there is no .venv/: one that setup would fetch may not see the card. What such an
# image's packages warn of when torch looks for the card is no error.
test-gpu:
	test -x $(BIN)/python || $(PYTHON) -c 'import torch, pytest, msgspec' || $(MAKE) setup
	$$(test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)) -m pytest tests/device -rs -W default

# Unpacked, so that PYTHONPATH alone brings them in; torch and what torch brings are the machine's own. Made anew each
# time: what an earlier list left there would hide the machine's own.
wheels:
	rm -rf build/wheels
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target build/wheels \
		-c constraints.txt $(if $(FOR),--python-version $(FOR)) \
		$(filter-out $(HAS),$(shell sed 's/#.*//' benchmarks/card.txt))
	du -sh build/wheels

tables: $(READY)
	$(BIN)/hdit-repro render-tables

bench: $(READY)
	$(BIN)/python benchmarks/bench.py --threads 2 --minutes $(or $(MINUTES),9.5) --write $(or $(WRITE),runs/bench) \
		$(if $(AUTHORS),--authors $(AUTHORS)) $(if $(PROCESSES),--processes $(PROCESSES))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Leaves runs/, where the trained networks lie.
clean:
	rm -rf .venv build .mypy_cache .ruff_cache .import_linter_cache .hypothesis

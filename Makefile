# Every goal sets up what it needs (scripts/set_up.sh); the stamps below make a second run start at once.
VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := $(VENV)/.dependencies-installed
PROJECT := $(VENV)/.project-installed
# A file of tests stays in one process: it shares what is dear to make.
PARALLEL := -n 2 --dist loadfile

.PHONY: help setup sanafe rivals demo docs camvid readme bench test test-all check lock clean
.NOTPARALLEL:

help:
	@echo "make setup      the environment in .venv, and neuroseg in it; the other goals do this by themselves"
	@echo "make sanafe     SANA-FE in an environment of its own, for the tests that compare with it; make test does this by itself"
	@echo "make rivals     the frameworks of make bench, where nothing else can import them; make test does this by itself"
	@echo "make demo       train, export and run on Lava, on the embedded data; results in runs/demo"
	@echo "make camvid     mfs-nano on CamVid from config to report; needs NEUROSEG_DATA; a quarter of an hour"
	@echo "make readme     write what the README measured anew: from benchmarks/results, and by neuroseg support"
	@echo "make bench      times beside stock SLAYER, stock Lava and other frameworks; half an hour on an idle machine"
	@echo "make docs       the documentation as a site; open build/site/index.html"
	@echo "make test       checks and the quick tests"
	@echo "make test-all   checks and all tests"
	@echo "make check      ruff, ruff format, mypy"
	@echo "make lock       write requirements/lock.txt anew from requirements.in"
	@echo "make clean      remove the environment, the tools, build products and caches (not runs/)"

setup: $(PROJECT)

# Small, and optional: where it cannot be had, this goal says so and ends well.
sanafe: $(PROJECT)
	@scripts/set_up.sh sanafe

# As optional: the frameworks that the benchmarks compare with.
rivals: $(PROJECT)
	@scripts/set_up.sh bench || echo "Tests of the benchmarks' other frameworks are skipped." >&2

demo: $(PROJECT)
	$(BIN)/neuroseg demo --out runs/demo

camvid: $(PROJECT)
	$(BIN)/python -m benchmarks.camvid_nano
	$(BIN)/python scripts/readme_numbers.py

readme: $(PROJECT)
	$(BIN)/python scripts/readme_numbers.py
	$(BIN)/python scripts/readme_support.py

# Nothing else should run meanwhile. --only training,lava,int,export,growth,start measures a part.
bench: $(PROJECT)
	@scripts/set_up.sh bench
	$(BIN)/python -m benchmarks.speed

# Material announces a future mkdocs in capitals unless told not to.
docs: $(PROJECT)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

test: check sanafe rivals
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) --durations=10

test-all: check sanafe rivals
	$(BIN)/python -m pytest $(PARALLEL) --durations=10

check: $(PROJECT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:
	scripts/set_up.sh lock

clean:
	rm -rf $(VENV) .tools .tools.partial build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(DEPENDENCIES): requirements/lock.txt requirements/uv.txt .python-version scripts/set_up.sh
	scripts/set_up.sh dependencies
	@touch $@

$(PROJECT): $(DEPENDENCIES) pyproject.toml
	scripts/set_up.sh project
	@touch $@

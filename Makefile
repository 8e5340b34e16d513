# Everything runs in .venv; every target builds it first where it is missing or out of date.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/installed
ARGS ?=
# The library below the audit, without what numba and Triton compile and what pytest loads by the plugin: what jaxtyping and beartype check while the tests run.
TYPED = $(shell cd src && find headclaims -name '*.py' -not -path '*/tests/*' -not -name '*kernels.py' -not -name __init__.py \
	-not -path '*/plugin/*' -not -path '*/audit/*' -not -path '*/claim/*' -not -name errors.py -not -name files.py -not -name uncollected.py | sed 's/\.py$$//; s|/|.|g' | sort | paste -sd, -)
# One process a processor, one thread each: most tests are small, and threads that wait for one another cost more than they give.
TESTS = OMP_NUM_THREADS=1 $(BIN)/pytest src/ -n auto --dist loadfile --no-loadscope-reorder

.PHONY: install claims test check docs bench bench-accelerator mutants error-rates emergence clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "headclaims needs Python 3.11 or later; found $$($(PYTHON) --version). Set PYTHON=..."; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

claims: $(STAMP)
	$(BIN)/pytest claims/ --page $(ARGS)

test: $(STAMP)
	$(TESTS) --jaxtyping-packages=$(TYPED),beartype.beartype $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(TESTS) -m "not slow" --jaxtyping-packages=$(TYPED),beartype.beartype $(ARGS)

# The site in site/; MkDocs reads README.md, docs/, claims/ and reports/ where they lie.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

mutants: $(STAMP)
	$(BIN)/headclaims trials counterfeits $(ARGS)

bench: $(STAMP)
	$(BIN)/pytest claims/benchmarks -o python_files='bench_*.py' --ignore=claims/benchmarks/bench_accelerator.py \
		-p no:cacheprovider --benchmark-sort=name \
		--benchmark-columns=min --benchmark-storage=file://reports/benchmarks --benchmark-autosave $(ARGS)
	$(BIN)/headclaims bench

# Where there is an accelerator; its records are apart from the processor's.
bench-accelerator: $(STAMP)
	$(BIN)/pytest claims/benchmarks/bench_accelerator.py -p no:cacheprovider --benchmark-sort=name --benchmark-columns=min \
		--benchmark-storage=file://reports/benchmarks/accelerator --benchmark-autosave $(ARGS)
	$(BIN)/headclaims bench reports/benchmarks/accelerator

emergence: $(STAMP)
	$(BIN)/headclaims sweep reports/trials/induction_heads/emergence.toml $(ARGS)
	cp reports/emergence/emergence.md reports/emergence/emergence.svg reports/trials/induction_heads/

error-rates: $(STAMP)
	$(BIN)/headclaims trials coverage
	$(BIN)/headclaims trials false-alarms
	$(BIN)/headclaims trials power

clean:
	rm -rf .venv build site src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

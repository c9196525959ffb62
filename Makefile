# make help lists what there is.  Everything is made in .venv, build and demo; `make clean` removes them.
PYTHON ?= python3
CC ?= cc
VENV := .venv
TEST := build/venv-test
EXAMPLE := examples/mnist_mlp
SOURCES := $(shell find bnnc grammar templates backends -type f -not -path '*/__pycache__/*')
PYTEST := $(TEST)/bin/python -m pytest -p no:cacheprovider --dist worksteal

PYTHON_CODE := bnnc backends tests examples benchmarks studies
C_CODE := $(shell find templates tests examples benchmarks -name '*.[ch]' -not -path '*/__pycache__/*')

CHECK := tests/unit tests/passes tests/errors tests/golden tests/test_repo.py tests/test_extension.py
LONG := $(addprefix --ignore=tests/unit/test_,allow.py api.py deploy.py experiment.py knobs.py sizes.py) # a third of the time: in `make test`

.DEFAULT_GOAL := help
.PHONY: help demo test check test-all test-arm fuzz format lint clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

$(VENV)/ok: pyproject.toml $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit("bnnc needs Python 3.11 or newer; make PYTHON=... chooses one" if sys.version_info < (3, 11) else 0)'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@rm -rf build/lib build/bdist*
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check .
	@touch $@

demo: $(VENV)/ok ## compile the MNIST example, train it (under a minute), compare memory with the plan
	@mkdir -p demo
	$(VENV)/bin/bnnc plan $(EXAMPLE)/mnist_mlp.bnn
	$(VENV)/bin/bnnc compile $(EXAMPLE)/mnist_mlp.bnn -o demo/mnist_mlp --source demo/source
	demo/mnist_mlp train --data $(EXAMPLE) --out demo/run --resume never --log demo/log.jsonl
	@$(VENV)/bin/python $(EXAMPLE)/summary.py demo/log.jsonl

$(TEST)/ok: pyproject.toml
	@test -x $(TEST)/bin/python || $(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install -q --disable-pip-version-check -e '.[test,oracle,gpu,dev]'
	@touch $@

test: $(TEST)/ok ## the fast tests, on all cores (TIMES=1: with CPU seconds of each)
	$(PYTEST) -n auto $(if $(TIMES),--times) $(ARGS)

check: $(TEST)/ok ## what to run before a commit (about a minute): units, passes, errors, golden files, rules of the repository
	$(PYTEST) -n auto $(if $(TIMES),--times) $(CHECK) $(LONG) $(ARGS)

test-all: $(TEST)/ok ## all tests of this machine, on programs and kernels for all instruction sets as -O2 makes them: full data, long training, fuzzing
	BNNC_TEST_OPTIMIZE=-O2 $(PYTEST) -n auto $(ARGS)
	BNNC_TEST_OPTIMIZE=-O2 $(PYTEST) -n auto -m 'slow and not gpu and not arm' $(ARGS)

fuzz: $(TEST)/ok ## judge random specs (SEEDS=0:2000), and print what they covered
	$(TEST)/bin/python tests/fuzz/run.py $(or $(SEEDS),0:2000)

test-arm: $(TEST)/ok ## the programs for Raspberry Pi and Cortex-M, under QEMU (needs qemu-user, qemu-system-arm, gcc or zig; ONLY=arm: the slow ones too)
	@$(TEST)/bin/python -c 'import ziglang' 2> /dev/null || $(TEST)/bin/python -m pip install -q --disable-pip-version-check -e '.[arm]'
	$(PYTEST) -n auto -m '$(or $(ONLY),arm and not slow)' $(ARGS)

format: $(TEST)/ok ## ruff format for Python, clang-format for C
	$(TEST)/bin/ruff format $(PYTHON_CODE)
	$(TEST)/bin/clang-format -i $(C_CODE)

lint: $(TEST)/ok ## the formatters (nothing would change), ruff and mypy
	$(TEST)/bin/ruff format --check -q $(PYTHON_CODE)
	$(TEST)/bin/clang-format --dry-run --Werror $(C_CODE)
	$(TEST)/bin/ruff check $(PYTHON_CODE)
	@rm -rf build/lint && mkdir -p build/lint && cp -r bnnc build/lint/ && cp -r backends grammar templates build/lint/bnnc/
	cd build/lint && ../../$(TEST)/bin/mypy --config-file ../../pyproject.toml

clean: ## remove everything that was made here
	rm -rf $(VENV) build demo run dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

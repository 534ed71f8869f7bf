# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
# The two commands of the README and what developers need daily; the work is in scripts/.

PRESET ?= $(if $(CI),ci,dev)
JOBS ?= $(shell nproc)
BUILD := build
PYTHON := $(BUILD)/venv/bin/python
SENTENCES ?=
QUERY ?=
ARGS ?=
PREFIX ?= /usr/local
export BUILD PRESET JOBS SENTENCES QUERY

.DEFAULT_GOAL := help
.PHONY: help demo check check-sanitizers check-gpu conformance fuzz bench bench-gpu docs deps install deb wheel configure build build-sanitized format clean

help:
	@echo 'make demo      install, build, compile all-MiniLM-L6-v2 and search sentences with it; complete Python code'
	@echo '               SENTENCES="a|b|c" QUERY="..." ranks your own sentences'
	@echo 'make check     install, build, run every test; the last line is the summary'
	@echo 'make check-sanitizers  the tests of ctest under the address, undefined-behaviour and thread sanitizers; part of make check'
	@echo 'make check-gpu runs the tests of CUDA on the GPU of this machine; ARGS="-k bert": some of them'
	@echo 'make conformance  run the ONNX backend test cases and write docs/conformance.md (about half an hour)'
	@echo '               ARGS="--targets cuda-emulator": on the emulated GPU; ARGS="--resume": what a run that was stopped left'
	@echo 'make fuzz      mutate models, modules, artifacts and checkpoints for FUZZ_SECONDS (default 600) in a build of its own'
	@echo 'make bench     compare with ONNX Runtime and OpenVINO in one run and write docs/performance.md (some ten minutes)'
	@echo '               ARGS="--quick", ARGS="--only REGEX": a part of it'
	@echo 'make bench-gpu  measure on the GPU of this machine, beside the peers of PYTHON, and write docs/gpu.md'
	@echo 'make build     install the needs and build into $(BUILD)/ (PRESET=dev|ci, JOBS=n)'
	@echo 'make install   build, and install into PREFIX (default /usr/local; DESTDIR before it)'
	@echo 'make deb       build, and make Debian packages: $(BUILD)/packages/lathe_*.deb, liblathe-dev_*.deb'
	@echo 'make wheel     build, and make a Python wheel: $(BUILD)/packages/lathe-*.whl'
	@echo 'make docs      write the reference of operations and passes; list the documentation'
	@echo 'make deps      install what the build needs: Debian packages, a virtual environment in $(BUILD)/venv'
	@echo 'make format    clang-format every C and C++ source'
	@echo 'make clean     remove the build folders, but not $(BUILD)/venv'

demo: build
	@scripts/demo.sh

check: build build-sanitized
	@scripts/check.sh

check-sanitizers: build build-sanitized
	@ONLY="sanitizers threads" scripts/check.sh

check-gpu: build
	@ARGS='$(ARGS)' scripts/check-gpu.sh

fuzz: build
	@mkdir -p build-fuzz
	@cmake --preset fuzz >build-fuzz/configure.log 2>&1 || { cat build-fuzz/configure.log; exit 1; }
	@cmake --build --preset fuzz --parallel $(JOBS)
	@scripts/fuzz.sh

conformance: build
	@$(PYTHON) test/conformance/conformance.py --jobs $(JOBS) $(ARGS)

bench: build
	@scripts/bench.sh $(ARGS)

bench-gpu: build
	@scripts/bench-gpu.sh $(ARGS)

docs: deps
	@$(PYTHON) scripts/reference.py
	@echo 'README.md              what it is and how to use it'
	@for file in $$(find docs -name '*.md' | sort); do printf '%-40s %s\n' $$file "$$(grep -m1 '^# ' $$file | cut -c3-)"; done

deps:
	@scripts/install.sh

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX) --strip

deb: build
	@cpack -G DEB --config $(BUILD)/CPackConfig.cmake -B $(BUILD)/packages

wheel: build
	@scripts/wheel.sh

configure: deps
	@echo '==> configuring $(BUILD)/ (preset $(PRESET))'
	@cmake --preset $(PRESET) >$(BUILD)/configure.log 2>&1 || { cat $(BUILD)/configure.log; exit 1; }

build: configure
	@echo '==> building (log of commands: $(BUILD)/.ninja_log)'
	@cmake --build $(BUILD) --parallel $(JOBS)

build-sanitized: deps
	@echo '==> building build-asan/ (preset asan-ubsan)'
	@mkdir -p build-asan
	@cmake --preset asan-ubsan >build-asan/configure.log 2>&1 || { cat build-asan/configure.log; exit 1; }
	@cmake --build build-asan --parallel $(JOBS)

format:
	@git ls-files -- '*.c' '*.h' '*.cpp' '*.hpp' | xargs clang-format-19 -i

clean:
	@rm -rf build-release build-asan build-tsan build-fuzz
	@[ ! -d $(BUILD) ] || find $(BUILD) -mindepth 1 -maxdepth 1 ! -name venv -exec rm -rf {} +

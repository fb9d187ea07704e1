# SPDX-License-Identifier: Apache-2.0
# The friendly front over the CMake presets. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := all
PORTABLE := portable-x86_64 portable-aarch64
.PHONY: all programs with-hub setup test demo install interop interop-all bench asan tsan coverage fuzz tidy deb tarball tarballs wheel wheels $(PORTABLE) packages package-test test-aarch64 release-test format format-check lint screenshots release test-update clean help

# Everything that building, testing and linting need on Debian 12, in one place.
PACKAGES := g++ cmake ninja-build pkg-config libcli11-dev libfmt-dev nlohmann-json3-dev libssl-dev libcurl4-openssl-dev zlib1g-dev libyaml-dev libpcre2-dev libeigen3-dev \
            doctest-dev libcpp-httplib-dev bats parallel curl jq openssl python3 python3-venv groff clang-format zsh fish
# Engines that the interop suite runs parts under; without them those tests are left out.
CLUSTER_PACKAGES := openmpi-bin slurm-wlm munge
PREFIX ?= /usr/local
TESTS := tests/run-tests

all: setup build/release/build.ninja ## build the programs (build/release/tools) and all their tests
	@cmake --build --preset release

programs: setup build/release/build.ninja ## the programs alone: a third less to compile
	@cmake --build --preset release --target programs

# With the local Hub that tests and the demo publish to, and what compares patterns with Python's.
with-hub: programs
	@cmake --build --preset release --target test_hub regex_probe renaming_probe

build/%/build.ninja: CMakePresets.json | setup
	@echo "configuring build/$*"
	@cmake --preset $* > /dev/null

# CMake keeps the compiler that it has found: another one needs a fresh start.
build/portable-%/build.ninja: CMakePresets.json tools/packaging/requirements.txt tools/packaging/portable/tools | setup
	@echo "configuring build/portable-$*"
	@cmake --fresh --preset portable-$* > /dev/null

setup: ## install the Debian packages that are missing (apt-get, as root or with sudo)
	@.ci/setup $(PACKAGES)

test: all ## unit tests, those of the Python package and of the command line; ends with "N passed, N failed"
	@$(TESTS) build/release

demo: ## the whole pipeline on the checkpoint in tests/fixtures; builds what it needs first
	@echo "demo, 1 of 3: the Debian packages that building needs"
	@$(MAKE) --no-print-directory setup
	@echo "demo, 2 of 3: building the programs and a local Hub (build/release)"
	@$(MAKE) --no-print-directory with-hub
	@echo "demo, 3 of 3: the pipeline"
	@tests/demo build/release/tools

install: programs ## install programs, man pages and completions (PREFIX, DESTDIR)
	@cmake --install build/release --prefix $(PREFIX)

PACKAGES_DIR := build/packages
BUILD_PACKAGES := lintian debootstrap man-db file dpkg-dev

# The programs for glibc 2.28 and newer, laid out as they are packed (build/portable-ARCH/stage).
$(PORTABLE): portable-%: setup
	@.ci/setup $(BUILD_PACKAGES)
	@$(MAKE) --no-print-directory build/portable-$*/build.ninja
	@cmake --build --preset portable-$* --target programs
	@tools/packaging/portable/stage $* > /dev/null

deb: DEB_ARCH = $(if $(filter arm64,$(ARCH)),arm64,$(shell dpkg --print-architecture))
deb: DEB_BUILD = $(if $(filter arm64,$(ARCH)),build/portable-aarch64,build/release)
deb: $(if $(filter arm64,$(ARCH)),portable-aarch64,programs) ## a Debian package (build/packages) for this machine, or with ARCH=arm64 for that one
	@.ci/setup $(BUILD_PACKAGES)
	@rm -rf $(DEB_BUILD)/packages
	@umask 022 && export SOURCE_DATE_EPOCH && SOURCE_DATE_EPOCH=$$(tools/packaging/source-date) && cd $(DEB_BUILD) && \
	  cpack -G DEB -D CPACK_PACKAGING_INSTALL_PREFIX=/usr > packages.log 2>&1 || { cat packages.log; exit 1; }
	@mkdir -p $(PACKAGES_DIR) && rm -f $(PACKAGES_DIR)/*_$(DEB_ARCH).deb
	@mv $(DEB_BUILD)/packages/*.deb $(PACKAGES_DIR) && ls $(PACKAGES_DIR)/*_$(DEB_ARCH).deb

wheel: portable-x86_64 ## a Python wheel for x86-64 with the programs and libcurl, for glibc 2.28 and newer
	@tools/packaging/make-wheel build/portable-x86_64/stage x86_64 $(PACKAGES_DIR)

wheels: wheel portable-aarch64 ## the same, and one for aarch64, built by a cross compiler
	@tools/packaging/make-wheel build/portable-aarch64/stage aarch64 $(PACKAGES_DIR)

tarball: portable-x86_64 ## an archive for x86-64 that runs wherever it is unpacked, on glibc 2.28 and newer
	@tools/packaging/make-tarball build/portable-x86_64/stage x86_64 $(PACKAGES_DIR)

tarballs: tarball portable-aarch64 ## the same, and one for aarch64
	@tools/packaging/make-tarball build/portable-aarch64/stage aarch64 $(PACKAGES_DIR)

packages: deb wheels tarballs ## all of them
	@$(MAKE) --no-print-directory deb ARCH=arm64

package-test: with-hub deb wheel tarball ## install each package in a clean place and run the demo with it
	@cmake --build --preset release --target libcurl_stubs
	@tests/packaging/run build/release $(PACKAGES_DIR)

# Tests of what is built for another machine, under an emulator; outside continuous integration.
EMULATOR_PACKAGES := qemu-user-static proot
test-aarch64: portable-aarch64 with-hub ## the tests for aarch64, under qemu; what can't run there is skipped
	@.ci/setup $(EMULATOR_PACKAGES)
	@cmake --build --preset portable-aarch64
	@tests/aarch64/run build/portable-aarch64 build/release

release-test: ## before a release: all packages, each in a clean place, built twice, with the same outputs; tests for aarch64
	@.ci/setup $(EMULATOR_PACKAGES)
	@tests/packaging/release-test

interop: with-hub ## our files read by the reference libraries and theirs by us (Python, in a cached virtual environment)
	@.ci/setup $(CLUSTER_PACKAGES) || echo "interop: tests under the engines that are missing are left out" >&2
	@tests/interop/run build/release/tools $(INTEROP)

interop-all: INTEROP := -m "full or not full"
interop-all: interop ## the same over every family of models, longer

bench: with-hub ## speed and memory beside what a user would pick instead, as ratios
	@tests/bench/run build/release/tools

coverage: build/coverage/build.ninja ## lines of lib that the tests run (build/coverage/report.txt)
	@.ci/setup gcovr
	@cmake --build --preset coverage
	@find build/coverage -name '*.gcda' -delete
	@$(TESTS) build/coverage
	@gcovr --root . --filter lib/ --exclude-throw-branches -j 2 --print-summary -o build/coverage/report.txt build/coverage | tail -3

asan: setup build/asan/build.ninja ## the same tests with address and undefined behaviour sanitizers
	@cmake --build --preset asan
	@$(TESTS) build/asan

tsan: setup build/tsan/build.ninja ## the unit tests that start threads, with the thread sanitizer; ALL=1: all tests
	@cmake --build --preset tsan --target $(if $(ALL),all,thread_tests)
	@$(TESTS) build/tsan $(if $(ALL),,--threads)

FUZZ_SECONDS ?= 60
FUZZERS := adapter card dcp gguf index numpy pickle quant ranks regex safetensors state torch zip
fuzz: setup ## feed mutated input to every reader, FUZZ_SECONDS (60) each; needs clang
	@.ci/setup clang libclang-rt-dev
	@[ -f build/fuzz/build.ninja ] || cmake --preset fuzz > /dev/null
	@cmake --build --preset fuzz --target $(FUZZERS:%=%_fuzzer)
	@for t in $(FUZZERS); do mkdir -p build/fuzz/corpus/$$t; echo "== $$t"; \
	  build/fuzz/tests/fuzz/$${t}_fuzzer -max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=1500 -malloc_limit_mb=200 \
	    -max_len=65536 -print_final_stats=1 -verbosity=0 -artifact_prefix=build/fuzz/ \
	    build/fuzz/corpus/$$t tests/fuzz/corpus/$$t || exit 1; done

SOURCES = $(shell find lib tools tests -name '*.cc' -o -name '*.h')
format: setup ## reformat all C++ sources
	@clang-format -i $(SOURCES)

format-check: setup
	@clang-format --dry-run -Werror $(SOURCES)

lint: setup format-check ## formatting, layers, sizes, documents, man pages, types of the Python package
	@set -e; for lint in layers sizes documents; do python3 tests/lint/$$lint.py --self-test; python3 tests/lint/$$lint.py; done
	@tests/lint/man-pages
	@tests/lint/types

tidy: setup build/release/build.ninja ## clang-tidy on the sources changed since the merge base with CI_BASE (HEAD~1); ALL=1: on all
	@.ci/setup git clang-tidy
	@tests/lint/tidy build/release

screenshots: programs ## draw the picture in README anew from what the programs print
	@tests/screenshots build/release/tools man/terminal.svg

release: ## check that version, CHANGELOG.md and tag agree, and say what to do next
	@tools/packaging/release

test-update: all ## rewrite the golden outputs and the functions of the Python package; read the diff
	@tools/python/make-functions build/release/tools
	@UPDATE_GOLDEN=1 $(TESTS) build/release

clean: ## remove what was built
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

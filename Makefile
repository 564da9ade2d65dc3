# SPDX-License-Identifier: MIT
# A facade over CMake: make demo, make test, make install. See CONTRIBUTING.md for the rest.
BUILD  ?= build
PREFIX ?= /usr/local
# Without the tests, which need more packages: `make test` builds those.
CMAKE   = cmake -G Ninja -S . -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DNEOQ_TESTS=OFF

.PHONY: all build deps demo test chaos bench fuzz docs install deb format lint clean

all: build

build: deps
	@$(CMAKE) -B $(BUILD) >/dev/null
	@cmake --build $(BUILD)

# Installs what is missing, on Debian.
deps:
	@scripts/install-deps build

demo: build
	@scripts/demo $(BUILD)

test:
	@scripts/install-deps test
	@scripts/test $(BUILD)

# SEED= MINUTES= STORE= JOBS= KILLS=
chaos:
	@scripts/install-deps test
	@STORE='$(STORE)' SEED='$(SEED)' MINUTES='$(MINUTES)' JOBS='$(JOBS)' KILLS='$(KILLS)' scripts/chaos $(BUILD)

bench: build
	@scripts/bench $(BUILD)

# One target of tests/fuzz for so long: make fuzz T=json MINUTES=5
fuzz:
	@scripts/install-deps test
	@scripts/fuzz $(BUILD) "$(T)" "$(MINUTES)"

# The reference, from the headers, in $(BUILD)/reference.
docs:
	@scripts/install-deps test
	@scripts/reference $(BUILD)/reference

install: build
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD)

# Debian packages, in BUILD-deb.
deb: deps
	@$(CMAKE) -B $(BUILD)-deb -DCMAKE_INSTALL_PREFIX=/usr >/dev/null
	@cmake --build $(BUILD)-deb
	@cd $(BUILD)-deb && cpack

format:
	@scripts/install-deps test
	@git ls-files '*.c' '*.h' ':!include/neoq.h' | xargs clang-format -i

lint:
	@scripts/install-deps test
	@scripts/lint $(BUILD)

clean:
	rm -rf build build-*

# SPDX-License-Identifier: MIT
# A facade over CMake: make demo, make test, make install. See CONTRIBUTING.md for the rest.
BUILD  ?= build
PREFIX ?= /usr/local
# Without the tests, which need more packages: `make test` builds those.
CMAKE   = cmake -G Ninja -S . -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DNEOQ_TESTS=OFF

.PHONY: all build deps demo test bench install format lint clean

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

bench: build
	@scripts/bench $(BUILD)

install: build
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD)

format:
	@scripts/install-deps test
	@git ls-files '*.c' '*.h' ':!include/neoq.h' | xargs clang-format -i

lint:
	@scripts/install-deps test
	@scripts/lint $(BUILD)

clean:
	rm -rf build build-*

# The door for people: `make` alone says what there is. The build itself is Meson's (meson.build).
# What a target needs and is missing is installed with apt; tools/deps says so before it does.

BUILD := build
MAKEFLAGS += --no-print-directory

# What meson says is of interest when it fails.
SETUP = test -f $(BUILD)/build.ninja || said=$$(meson setup $(BUILD) -Dtests=disabled 2>&1) || { echo "$$said"; exit 1; }

.PHONY: help run check crash soak build install bench clean

help:
	@echo 'make run      build, make a demo installation under run/ once, start the platform with TLS on port 8883'
	@echo 'make check    build with sanitizers and run every test; the last line is the count'
	@echo 'make crash    kill -9 the broker 200 times under load and compare what was acknowledged with what came (KILLS=N)'
	@echo 'make soak     certificates come, expire and are revoked for ten minutes under load, on every build that is there (SOAK_SECONDS=N)'
	@echo 'make build    build the release binary: $(BUILD)/signet'
	@echo 'make install  install it with manual pages, completion and systemd unit (PREFIX=/usr/local, SYSCONFDIR=/etc, DESTDIR=)'
	@echo 'make bench    measure it beside mosquitto'
	@echo 'make clean    remove what was built; run/ with its keys stays'

build:
	@tools/deps build
	@$(SETUP)
	@ninja -C $(BUILD)

run:
	@tools/deps build run
	@$(SETUP)
	@ninja -C $(BUILD) src/cli/signet
	@exec tools/run

check:
	@tools/deps build check
	@exec tools/check

KILLS ?= 200
crash: build
	@SIGNET=$(BUILD)/src/cli/signet /usr/bin/python3 tests/crash/run $(KILLS)

# Ten minutes each: memory is measured without a sanitizer; those who were built are run too.
SOAK_SECONDS ?= 600
soak: build
	@for build in $(BUILD) build-asan build-tsan; do \
		test -x $$build/src/cli/signet || continue; \
		echo "soak: $$build"; \
		SOAK_SECONDS=$(SOAK_SECONDS) SIGNET=$$build/src/cli/signet SIGNET_BUILD=$${build#build-} /usr/bin/python3 -m pytest -q -s tests/test_soak.py || exit 1; \
	done

# The paths are in the unit and the manual pages, so they are set before anything is built.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
install:
	@tools/deps build
	@$(SETUP)
	@meson configure $(BUILD) -Dprefix=$(PREFIX) -Dsysconfdir=$(SYSCONFDIR)
	@ninja -C $(BUILD)
	@meson install --no-rebuild -C $(BUILD) $(if $(DESTDIR),--destdir $(DESTDIR))

bench: build
	@tools/deps bench
	@exec benchmarks/run

clean:
	rm -rf build build-asan build-tsan build-fuzz build-release

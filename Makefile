# Everything that the targets need, they install: Debian packages, a virtual environment in .venv, the
# WireGuard daemons in .tools. A second run finds it there and is quick.

PYTHON ?= python3
BORINGTUN = 0.7.1
GOTATUN = 0.10.2
PACKAGES = ca-certificates cargo-web chromium-headless-shell gcc iproute2 iputils-ping libc6-dev libcap2-bin make \
	mosquitto mosquitto-clients nftables procps python3-venv rustc-web strace util-linux wireguard-go wireguard-tools

MACHINE_PACKAGES = cpio e2fsprogs mmdebstrap qemu-system-x86
MACHINE_PROGRAMS = cpio mke2fs mmdebstrap qemu-system-x86_64

VENV = .venv
BIN = $(VENV)/bin
DAEMONS = .tools/bin/boringtun-cli .tools/bin/gotatun

# With IN_PYTEST='-k name' a part of the tests can be chosen.
IN_PYTEST ?=
IN_SOAK ?=

TOOL = $(PYTHON) vpn/bin/fedbiomed_vpn.py

.PHONY: help up setup demo test check unit system images containers test-kernel test-fedbiomed fuzz soak bench clean

help:
	@echo "make up      the whole consortium in containers on this machine (Docker)"
	@echo "make demo    a consortium without containers, in network namespaces (root)"
	@echo "make test    style, types, unit, contract, system and container tests (root, Docker)"
	@echo "make check   style and types only          make unit    tests that need no root"
	@echo "make test-kernel   the main tests on a kernel's WireGuard, in an emulated machine (root the first time)"
	@echo "make test-fedbiomed   a federated training with the real Fed-BioMed (Docker, 30 GB of disk)"
	@echo "make fuzz    the parsers, with many spoilt inputs"
	@echo "make soak    five minutes of changes, deaths and hangs among 200 components (root; IN_SOAK='--minutes 2')"
	@echo "make bench   the measurements of docs/benchmarks.md (root)"
	@echo "make clean   remove what these targets made in this folder"

up: .tools/engine
	@$(TOOL) build
	@$(TOOL) start
	@$(TOOL) status

setup: $(VENV)/ready $(DAEMONS)
	@$(BIN)/python -m compileall -q vpn lab benchmarks

demo:
	@[ "$$(id -u)" = 0 ] || { echo "make demo makes network namespaces: run it as root (sudo make demo)" >&2; exit 1; }
	@$(MAKE) --no-print-directory setup
	@$(BIN)/python -m lab.demo

test: setup check unit system containers

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: setup .tools/bin/promtool
	$(BIN)/python -m pytest -n 2 -m "not system and not containers and not fedbiomed" $(IN_PYTEST)

# More at a time than processors: most of what they do is wait for something to happen.
system: setup
	$(BIN)/python -m pytest -n 4 -m system $(IN_PYTEST)

# The images without Fed-BioMed: what is tested of them is ours. `make up` builds them with it again.
images: .tools/engine
	FEDBIOMED=none $(TOOL) build

containers: setup images
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m containers $(IN_PYTEST)

# The kernel's WireGuard, whatever this machine's kernel has; docs/testing.md.
test-kernel: setup .tools/machine/disk
	@$(BIN)/python -m compileall -q tests
	$(BIN)/python -m lab.machine.run -n 2 -p no:cacheprovider -m kernel tests/contract tests/system $(IN_PYTEST)

test-fedbiomed: setup .tools/engine
	$(TOOL) build vpnserver node researcher
	$(BIN)/python -m pytest -m fedbiomed $(IN_PYTEST)

# Other examples each time, and many of them.
FUZZ_EXAMPLES ?= 20000
fuzz: setup
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -n 2 --timeout 3600 tests/fuzz $(IN_PYTEST)

soak: setup
	$(BIN)/python -m lab.soak $(IN_SOAK)

bench: setup
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.recovery
	$(BIN)/python -m benchmarks.throughput

clean:
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds what was asked for, so that only a change asks the package manager again.
.tools/packages: Makefile
	@mkdir -p .tools
	@if [ "$$(cat $@ 2>/dev/null)" = "$(PACKAGES)" ]; then touch $@; \
	elif [ "$$(dpkg-query -W -f '$${db:Status-Abbrev}\n' $(PACKAGES) 2>/dev/null | grep -c '^ii')" = "$(words $(PACKAGES))" ]; then \
		echo "$(PACKAGES)" > $@; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(PACKAGES) \
		&& echo "$(PACKAGES)" > $@; \
	else \
		echo "As root, install what is missing: apt-get install $(PACKAGES)" >&2; exit 1; \
	fi

.tools/machine/disk: lab/machine/image lab/machine/init setup.cfg | $(VENV)/ready
	@[ "$$(id -u)" = 0 ] || { echo "make test-kernel makes the machine's disk: run it as root the first time" >&2; exit 1; }
	@for program in $(MACHINE_PROGRAMS); do command -v $$program > /dev/null || missing=1; done; [ -z "$$missing" ] || { \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(MACHINE_PACKAGES); }
	lab/machine/image .tools/machine $(BIN)/python

# Whatever Docker is there is left alone; where there is none, Debian's.
.tools/engine:
	@mkdir -p .tools
	@docker version > /dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && ! command -v docker > /dev/null && \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y docker.io docker-compose && \
		service docker start && sleep 3 && docker version > /dev/null; } || \
		{ echo "Docker is not there or does not answer: install it, start it (systemctl start docker), try again" >&2; exit 1; }
	@touch $@

# compat: the newer editable modes add 15 ms to every start of this Python.
$(VENV)/ready: setup.cfg pyproject.toml .tools/packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable '.[test]'
	@touch $@

# The program that checks, and no more: the package would start a server on this machine.
.tools/bin/promtool: | .tools/packages
	@mkdir -p .tools/prometheus
	cd .tools/prometheus && { apt-get -q -o APT::Sandbox::User=root download prometheus || \
		{ apt-get update -q && apt-get -q -o APT::Sandbox::User=root download prometheus; }; }
	dpkg-deb --fsys-tarfile .tools/prometheus/prometheus_*.deb | tar -x -C .tools --strip-components=2 ./usr/bin/promtool
	rm -r .tools/prometheus

# Debian's own cargo and rustc, whatever else is on the PATH: cargo-web is new enough, the others may not be.
.tools/bin/boringtun-cli: | .tools/packages
	RUSTC=/usr/bin/rustc /usr/bin/cargo install --quiet --locked --root .tools --version $(BORINGTUN) boringtun-cli

.tools/bin/gotatun: | .tools/packages .tools/bin/boringtun-cli
	RUSTC=/usr/bin/rustc /usr/bin/cargo install --quiet --locked --root .tools --version $(GOTATUN) gotatun-cli

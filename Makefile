# `make demo` runs the main job, `make test` passes the tests; both set up all
# they need on a fresh Debian with Python 3.11, in .venv and by apt.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(shell find mezite twisted -type f -not -name '*.pyc') setup.cfg pyproject.toml README.rst
# program:package, for what the tests run beside our own programs
TEST_PROGRAMS := sshd:openssh-server ssh:openssh-client sftp:openssh-client tmux:tmux \
	ss:iproute2 openssl:openssl curl:curl git:git vim:vim ps:procps \
	rsync:rsync ansible:ansible-core chromium:chromium haproxy:haproxy nginx:nginx-light \
	ip:iproute2 iptables:iptables faketime:faketime

.PHONY: demo test lint types docs tests bench faults soak clean system

demo: .venv/installed
	@cd / && "$(CURDIR)/$(BIN)/python" -m mezite.cli.demo

test: system lint types docs tests

lint: .venv/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/developing
	$(BIN)/mypy

docs: .venv/developing
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

tests: .venv/developing system
	$(BIN)/pytest -q -n 4 --dist=loadfile --hypothesis-profile=ci

bench: .venv/developing system
	$(BIN)/python -m tests.benchmarks

# As root; an hour. `make faults FAULTS="--only clock --rounds 5"` for less.
faults: .venv/developing system
	$(BIN)/python -m tests.faults $(FAULTS)

soak: .venv/developing system
	$(BIN)/python -m tests.soak $(SOAK)

clean:
	rm -rf .venv .tox build dist *.egg-info docs/_build

# A virtual environment needs ensurepip, which Debian keeps in python3-venv.
.venv/created:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@touch $@

# The package is built as a wheel and installed from it, as a user would have it.
.venv/installed: .venv/created $(SOURCES)
	@echo "building the wheel and installing it in .venv (a minute the first time)"
	@rm -rf build/lib build/bdist* build/wheel
	@$(BIN)/pip -q --disable-pip-version-check wheel --no-deps -w build/wheel .
	@$(BIN)/pip -q --disable-pip-version-check install build/wheel/mezite-*.whl
	@$(BIN)/pip -q --disable-pip-version-check install --force-reinstall --no-deps build/wheel/mezite-*.whl
	@cd / && "$(CURDIR)/$(BIN)/twist" --help >/dev/null
	@touch $@

.venv/developing: .venv/installed setup.cfg
	@$(BIN)/pip -q --disable-pip-version-check install \
		"$$(echo build/wheel/mezite-*.whl)[tests,lint,types,docs]"
	@touch $@

system:
	@missing=""; for entry in $(TEST_PROGRAMS); do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v "$${entry%%:*}" >/dev/null || missing="$$missing $${entry##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

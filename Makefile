# Everything a developer types. `make` alone prints this list; the lines after ## are the list.
#
# VENV=dir says where the virtual environment is (default .venv). It comes in two flavours: `make demo` needs no
# torch and sets up in a minute, the tests and the training need all. Each flavour is a stamp file in VENV that is
# older than what decides the install only when something changed, so a second `make demo` starts at once.

VENV   ?= .venv
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ARGS   ?=

BIN     := $(VENV)/bin
INSTALL := pyproject.toml setup.py $(wildcard common/codec/*.[ch])
# The stubs in common/wire are made by the oldest grpcio the package admits: newer ones read them, not the reverse.
OLDEST_GRPC = $(shell sed -n 's/.*"grpcio>=\([0-9.]*\)".*/\1/p' pyproject.toml)
PROTOC_VENV := build/protoc

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types contracts check format proto bench train compose-up compose-down clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# ---- set-up ---------------------------------------------------------------------------------------------------------

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing. On Debian:" \
		"apt-get install python3 python3-venv python3-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments." \
		"On Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV)

define can-compile
@cc=$${CC:-$$($(BIN)/python -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')}; \
headers=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("INCLUDEPY"))'); \
echo '#include <stdlib.h>' | $$cc -E - >/dev/null 2>&1 || { echo "The C compiler ($$cc) or the C library's headers" \
	"are missing. On Debian: apt-get install gcc libc6-dev" >&2; exit 1; }; \
test -e "$$headers/Python.h" || { echo "Python.h is missing in $$headers." \
	"On Debian: apt-get install python3-dev" >&2; exit 1; }
endef

$(VENV)/.installed-demo: $(INSTALL) | $(BIN)/pip
	$(can-compile)
	@echo "Installing edge, cloud and demo (no torch) and compiling the C kernel. About a minute on a new machine."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[edge,cloud,demo]'
	@touch $@

$(VENV)/.installed-dev: $(INSTALL) | $(BIN)/pip
	$(can-compile)
	@echo "Installing everything, torch and the test tools included (about 6 GB), and compiling the C kernel."
	@echo "This takes several minutes on a new machine and prints nothing meanwhile."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,train]'
	@touch $(VENV)/.installed-demo $@

setup: $(VENV)/.installed-dev ## the full environment in VENV, torch and test tools included

# ---- running --------------------------------------------------------------------------------------------------------

demo: $(VENV)/.installed-demo ## edge and cloud on this machine, real frames; ONCE=1 ends by itself, FRAMES=path sends yours
	@$(BIN)/midstream demo $(if $(ONCE),--once) $(if $(FRAMES),--frames '$(FRAMES)') $(ARGS)

bench: $(VENV)/.installed-dev ## measure (ARGS go to `midstream bench`)
	@$(BIN)/midstream bench $(ARGS)

train: $(VENV)/.installed-dev ## train (ARGS go to `midstream train`)
	@$(BIN)/midstream train $(ARGS)

compose-up: ## both services in containers, waiting until they are healthy
	docker compose up --build --detach --wait

compose-down: ## stop them; the volumes stay
	docker compose down

# ---- checking -------------------------------------------------------------------------------------------------------

test: $(VENV)/.installed-dev ## every test (ARGS go to pytest)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## mypy, strict
	@$(BIN)/mypy

contracts: $(VENV)/.installed-dev ## which package may import which
	@$(BIN)/lint-imports

check: lint types contracts test ## all four

format: $(VENV)/.installed-dev ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# ---- making ---------------------------------------------------------------------------------------------------------

$(PROTOC_VENV)/grpcio-tools-$(OLDEST_GRPC): | $(BIN)/pip
	@rm -rf $(PROTOC_VENV)
	@echo "Installing grpcio-tools $(OLDEST_GRPC) into $(PROTOC_VENV)."
	@$(BIN)/python -m venv $(PROTOC_VENV)
	@$(PROTOC_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'grpcio-tools==$(OLDEST_GRPC)'
	@touch $@

proto: $(PROTOC_VENV)/grpcio-tools-$(OLDEST_GRPC) ## the gRPC stubs in common/wire, from proto/
	@$(PROTOC_VENV)/bin/python -m grpc_tools.protoc -I common/wire=proto/midstream/v1 \
		--python_out=. --pyi_out=. --grpc_python_out=. common/wire/stream.proto

clean: ## remove what was built; the environment stays, its package is installed anew by the next target
	@rm -rf build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@rm -f common/codec/_kernel*.so $(VENV)/.installed-*
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

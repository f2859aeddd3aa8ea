# `make demo`: the whole path on this machine. `make test`: lint, types, tests. `make soak`: the same tests with more
# examples, for hours, and then `make mutants`: whether tests notice changed code. `make judges`: compares the pack with
# what others wrote. `make bench`: measures it. `make lock`: the newest releases that pyproject.toml allows, into
# requirements/.
PYTHON ?= python3
BROWSER := $(foreach name,chromium chromium-browser google-chrome google-chrome-stable,$(shell command -v $(name)))
JUDGES = ministack prowler
quoted = '$(subst ','\'',$(1))'
.DEFAULT_GOAL := demo

# The demo writes bytecode, even if the environment says not to: compiling all of it first would take longer.
demo: .venv/$(if $(FLOWS),flows,local)
	@$(if $(FLOWS),for file in $(FLOWS); do set -- "$$@" --flows "$$file"; done;) \
	  PYTHONDONTWRITEBYTECODE= .venv/bin/c7n-ingress rehearse --make $(if $(GROUPS),$(call quoted,$(GROUPS))) \
	  $(if $(AUTHORIZED),--authorized $(call quoted,$(AUTHORIZED))) \
	  $(if $(INTERFACES),--interfaces $(call quoted,$(INTERFACES))) $(if $(VPCS),--vpcs $(call quoted,$(VPCS))) "$$@"

test: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pytest

soak: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	.venv/bin/pytest --hypothesis-profile=nightly
	$(MAKE) mutants

mutants: .venv/dev
	.venv/bin/python -m tests.mutants $(NAMES)

judges: .venv/dev $(JUDGES:%=.venv/judges/%/installed)
	.venv/bin/pytest -n0 tests/judges tests/policies/test_recordings.py

bench: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	@.venv/bin/python -m tests.bench $(PARTS)

.venv/judges/%/installed: requirements/judges/%.lock | .venv/dev
	@.venv/bin/python requirements/install.py judges/$*
	@touch $@

# Everything is installed again if .venv's Python does not run, for instance after an upgrade of that Python.
.venv/%: requirements/%.lock pyproject.toml $(shell .venv/bin/python -S -c '' 2>/dev/null || echo again)
	@$(PYTHON) requirements/install.py $*
	@touch $@ $(if $(filter dev,$*),.venv/flows) $(if $(filter-out local,$*),.venv/local)  # dev has flows', flows has local's

.venv/browser/chromium: | .venv/dev
	-.venv/bin/python -m tests.support.browser  # where that fails, the tests that need a browser say what to install

# One lock for all Pythons and systems, which only uv can make. c7n requires 3.10.2. A package has the
# same release in all locks.
RESOLVE = .venv/bin/uv pip compile --quiet --universal --python-version 3.10.2 --only-binary :all: --generate-hashes \
  --no-annotate --custom-compile-command 'make lock' --upgrade
COMPILE = $(RESOLVE) --group build pyproject.toml
lock: .venv/dev
	$(COMPILE) --extra dev --output-file requirements/dev.lock
	$(COMPILE) --constraint requirements/dev.lock --extra flows --output-file requirements/flows.lock
	$(COMPILE) --constraint requirements/dev.lock --extra local --output-file requirements/local.lock
	for judge in $(JUDGES); do \
	  $(RESOLVE) --group pyproject.toml:$$judge --output-file requirements/judges/$$judge.lock || exit; done

.PHONY: demo test soak mutants judges bench lock again

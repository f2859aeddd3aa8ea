# `make demo`: the whole loop on this machine. `make test`: lint, types, tests. `make soak`: the same tests, for hours.
# `make bench`: what it costs. `make lock`: the newest releases that pyproject.toml allows, into requirements/.
PYTHON ?= python3
BROWSER := $(foreach name,chromium chromium-browser google-chrome google-chrome-stable,$(shell command -v $(name)))
quoted = '$(subst ','\'',$(1))'
.DEFAULT_GOAL := demo

# Bytecode is written as the demo goes along, also where the environment says not to: compiling all takes longer.
demo: .venv/$(if $(FLOWS),flows,local)
	@PYTHONDONTWRITEBYTECODE= .venv/bin/c7n-ingress rehearse --make $(if $(GROUPS),$(call quoted,$(GROUPS))) \
	  $(if $(AUTHORIZED),--authorized $(call quoted,$(AUTHORIZED))) \
	  $(if $(INTERFACES),--interfaces $(call quoted,$(INTERFACES))) $(if $(VPCS),--vpcs $(call quoted,$(VPCS))) \
	  $(if $(FLOWS),--flows $(FLOWS))

test: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pytest

soak: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	.venv/bin/pytest --hypothesis-profile=nightly

bench: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	@.venv/bin/python -m tests.bench $(PARTS)

# Everything is installed again if .venv's Python does not run, for instance after an upgrade of that Python.
.venv/%: requirements/%.lock pyproject.toml $(shell .venv/bin/python -S -c '' 2>/dev/null || echo again)
	@$(PYTHON) requirements/install.py $*
	@touch $@ $(if $(filter dev,$*),.venv/flows) $(if $(filter-out local,$*),.venv/local)  # dev has flows', flows has local's

.venv/browser/chromium: | .venv/dev
	-.venv/bin/python -m tests.support.browser  # where that fails, the tests that need a browser say what to install

# One lock for all Pythons and systems, which uv alone can make; c7n wants 3.10.2. What one lock has, the others have in
# the same release.
COMPILE = uv pip compile --quiet --universal --python-version 3.10.2 --only-binary :all: --generate-hashes \
  --no-annotate --custom-compile-command 'make lock' --group build pyproject.toml
lock:
	$(COMPILE) --upgrade --extra dev --output-file requirements/dev.lock
	$(COMPILE) --upgrade --constraint requirements/dev.lock --extra flows --output-file requirements/flows.lock
	$(COMPILE) --upgrade --constraint requirements/dev.lock --extra local --output-file requirements/local.lock

.PHONY: demo test soak bench lock again

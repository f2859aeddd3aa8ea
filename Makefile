# `make demo`: the whole loop on this machine. `make test`: lint, types, tests. `make bench`: what it costs.
PYTHON ?= python3
BROWSER := $(foreach name,chromium chromium-browser google-chrome google-chrome-stable,$(shell command -v $(name)))
.DEFAULT_GOAL := demo

demo: .venv/local
	@.venv/bin/python -m mode.local $(if $(GROUPS),'$(GROUPS)') \
	  $(if $(INTERFACES),--interfaces '$(INTERFACES)') $(if $(FLOWS),--flows $(FLOWS))

test: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pytest

bench: .venv/dev $(if $(strip $(BROWSER)),,.venv/browser/chromium)
	@.venv/bin/python -m tests.bench $(PARTS)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/%: pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(if $(filter dev,$*),.venv/local)  # dev has all that local has

.venv/browser/chromium: | .venv/dev
	-.venv/bin/python -m tests.browser  # where that fails, the tests that need a browser say what to install

.PHONY: demo test bench

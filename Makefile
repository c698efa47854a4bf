# Two commands for a fresh machine with git, make, python3 and venv: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml $(shell find app engine widgets resources -name '*.py' -o -name '*.css' -o -name '*.html' -o -name '*.svg' -o -name '*.typed' | sort)
test pytest: export QT_QPA_PLATFORM ?= offscreen

# The system libraries that PyQt6 loads, by Debian's names.
QT_PACKAGES := libegl1 libgl1 libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0 libxcb-icccm4 \
	libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 \
	libfontconfig1 libglib2.0-0

.PHONY: demo test lint types pytest clean

demo: $(VENV)/installed
	$(BIN)/tiltwright demo --output demo

test: lint types pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/installed
	$(BIN)/mypy

pytest: $(VENV)/installed
	$(BIN)/python -m pytest

$(VENV)/system: Makefile
	@if command -v dpkg >/dev/null 2>&1; then \
		missing=""; for p in $(QT_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
		if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
		elif [ -n "$$missing" ]; then echo "Qt needs these system packages, please install them:$$missing"; fi; \
	else echo "Not a Debian system: if the window does not open, install what Qt 6 needs (EGL, GL, xkbcommon-x11, xcb-cursor)."; fi
	@mkdir -p $(VENV) && touch $@

$(VENV)/dependencies: constraints.txt pyproject.toml $(VENV)/system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt --upgrade pip setuptools
	$(BIN)/python -m pip install -q -c constraints.txt '.[test]'
	@touch $@ $(VENV)/installed

# Installed as a user would have it, not as links, so that types and contracts are those of the package.
$(VENV)/installed: $(VENV)/dependencies $(SOURCES)
	@rm -rf build
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --force-reinstall .
	@rm -rf build
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo

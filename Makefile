# Only what has to work before anything is installed. Everything else: `.venv/bin/invoke --list`.
.PHONY: setup demo test check root
.DEFAULT_GOAL := setup

setup:
	@for python in /usr/bin/python3 python3; do \
	    "$$python" -c 'import argparse, json, sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && exec "$$python" toolchain/bootstrap.py; \
	done; echo "python3: none found that runs (3.8 or newer). Install it: apt-get install -y python3" >&2; exit 2

demo: root setup
	@.venv/bin/invoke demo

test: root setup
	@.venv/bin/invoke test

check: setup
	@.venv/bin/invoke check

# The embedded cloud's workers are network and process namespaces, which only root may make. Said before a long set-up.
root:
	@[ "$$(id -u)" = 0 ] || { echo "root: needed for the embedded cloud's workers. Run: sudo -E make $(MAKECMDGOALS)" >&2; exit 2; }

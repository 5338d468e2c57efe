"""`make setup`: bring this machine and this clone to where every command works; quick when they are there already.

Standard library only, Python 3.8 or newer, run as a program before anything is installed. Exit codes: 0 ready;
1 a step failed; 2 a prerequisite is missing (one line each, with its cure), nothing was touched; 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from toolchain.install.steps import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

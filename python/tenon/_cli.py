"""The command `tenon`: hands over to the C++ program that the package carries."""
from __future__ import annotations

import os
import sys


def main() -> None:
    """Replaces this process by tenon/bin/tenon with the same arguments."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "tenon")
    if not os.path.isfile(program):
        sys.exit(f"tenon: {program} is not there; this package was built without its command line tool")
    os.execv(program, [program, *sys.argv[1:]])

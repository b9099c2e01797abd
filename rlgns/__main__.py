"""`python -m rlgns` runs the command `rlgns`."""

import sys

from rlgns.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())

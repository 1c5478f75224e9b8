"""`python -m hdit_repro.cli`: the command without its script."""

import sys

from hdit_repro.cli import main

if __name__ == "__main__":
    sys.exit(main())

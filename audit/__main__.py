"""`python -m audit verify|prove|writer`: the evidence without the rest of the house."""

from __future__ import annotations

import sys

from audit.cli import main

if __name__ == "__main__":
    sys.exit(main())

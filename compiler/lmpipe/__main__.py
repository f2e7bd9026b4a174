"""`python -m lmpipe`."""

from __future__ import annotations

from lmpipe.cli import main

if __name__ == "__main__":
    main()

"""Where in a user's code an error was raised."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

_LIBRARY = Path(__file__).parent.parent
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def source_line(traceback: str) -> str:
    """Return ` at FILE:LINE` of the last line of a traceback that is not lmpipe's; else nothing.

    A line in an installed package is named only if all lines are in one.
    """
    found = re.findall(r'File "([^<].*)", line (\d+)', traceback)
    others = [(file, line) for file, line in found if not Path(file).is_relative_to(_LIBRARY)]
    own = [(file, line) for file, line in others if not _is_installed(file)] or others
    return f" at {own[-1][0]}:{own[-1][1]}" if own else ""


def _is_installed(file: str) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in _INSTALLED)

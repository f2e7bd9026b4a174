"""Where in a user's code an error was raised."""

from __future__ import annotations

import re
from pathlib import Path

_LIBRARY = Path(__file__).parent.parent


def source_line(traceback: str) -> str:
    """Return ` at FILE:LINE` of the last line of a traceback that is not lmpipe's; else nothing."""
    found = re.findall(r'File "(.+)", line (\d+)', traceback)
    own = [(file, line) for file, line in found if not Path(file).is_relative_to(_LIBRARY)]
    return f" at {own[-1][0]}:{own[-1][1]}" if own else ""

"""Python environments for heavy packages: where they are, and what is installed in them."""

from __future__ import annotations

from pathlib import Path

from lmpipe.foundation.atomic_files import home_folder

# Run with another Python and package names as arguments. It reads only metadata, because importing
# these packages can take seconds.
VERSIONS_SCRIPT = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({"python": sys.version.split()[0], "packages": found}))
"""


def environment_folder(name: str) -> Path:
    """Return the folder of the environment `vllm` or `train`."""
    return home_folder() / "environments" / name


def environment_python(name: str) -> Path:
    """Return the Python of an environment, which may not exist yet."""
    return environment_folder(name) / "bin" / "python"

"""Other Pythons: where lmpipe keeps those of heavy packages, and how they tell what they have."""

from __future__ import annotations

from pathlib import Path

from lmpipe.foundation.atomic_files import home_folder

# For another Python, with names of packages after it. Asks for metadata alone: importing what it
# is asked about may take seconds.
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
    """Where lmpipe looks for an environment of that name: `vllm`, or `train`."""
    return home_folder() / "environments" / name


def environment_python(name: str) -> Path:
    """The Python of such an environment, whether somebody has made it or not."""
    return environment_folder(name) / "bin" / "python"

"""The database as diskcache makes it, without pickles.

diskcache unpickles any row that is marked as pickled, even with `JSONDisk` (CVE-2025-69872), so
whoever can write to a cache folder could run code in the processes that read it. `BytesDisk`
closes every path to `pickle.load`, and rows cannot name files to be read or deleted.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW

from lmpipe.lm.cache.entry import check_value


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys are str, values are bytes. Give it to any `diskcache.Cache` that opens a reply cache."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise ValueError(f"a key must be str, got {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if not raw or type(key) is not str:
            raise ValueError("the key is pickled")
        return key

    def store(
        self, value: object, read: bool, key: object = diskcache.UNKNOWN
    ) -> tuple[int, int, str | None, Any]:
        if read or type(value) is not bytes:
            raise ValueError(f"a value must be bytes, got {type(value).__name__}")
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        return check_value(Path(self._directory), mode, value)

    def remove(self, file_path: object) -> None:
        """Do nothing: no value is in a file."""


def create_tables(folder: Path) -> None:
    """Create the tables of a cache in an empty database."""
    diskcache.Cache(str(folder), disk=BytesDisk, size_limit=2**62, cull_limit=0).close()

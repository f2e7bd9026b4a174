"""An index as a folder: JSON, JSONL and arrays without pickle. Loading it executes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.errors import ArtifactError, DataError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.file_hash import file_sha256
from lmpipe.foundation.storing import storing
from lmpipe.retrieval.corpus import read_corpus
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

_HEAD = "index.json"
_PASSAGES = "passages.jsonl"
_VERSION = 1


def save_index(
    folder: Path,
    kind: str,
    settings: Mapping[str, Any],
    passages: Sequence[Passage],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write an index. The file that names the others comes last, with their hashes.

    Raises:
        StorageError: if a file cannot be written.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [canonical_json(passage.to_json()) for passage in passages]
    write_file(folder / _PASSAGES, b"".join(line + b"\n" for line in lines))
    names = [_PASSAGES]
    for name, array in arrays.items():
        write_file(folder / f"{name}.npy", _npy(array))
        names.append(f"{name}.npy")
    hashes = {name: file_sha256(folder / name) for name in names}
    head = {"kind": kind, "version": _VERSION, "settings": dict(settings), "files": hashes}
    write_file(folder / _HEAD, json.dumps(head, indent=2, sort_keys=True).encode() + b"\n")


def load_index(
    folder: Path, kind: str, arrays: Sequence[str]
) -> tuple[dict[str, Any], tuple[Passage, ...], dict[str, npt.NDArray[Any]]]:
    """Read an index of a kind: its settings, passages and arrays.

    Raises:
        ArtifactError: if a file is missing, damaged or of another index.
    """
    head = _head(folder, kind)
    names = [_PASSAGES, *(f"{name}.npy" for name in arrays)]
    for name in names:
        try:
            found = file_sha256(folder / name)
        except OSError as error:
            raise ArtifactError(
                f"{folder / name} cannot be read: {error}; save it again"
            ) from error
        if head["files"].get(name) != found:
            raise ArtifactError(
                f"{folder / name} is not the file that was saved with {folder / _HEAD}: save the "
                "index again"
            )
    try:
        passages = read_corpus(folder / _PASSAGES)
        loaded = {name: _read_npy(folder / f"{name}.npy") for name in arrays}
    except (DataError, ValueError, OSError) as error:
        raise ArtifactError(f"{folder} is damaged: {error}; save the index again") from error
    return head["settings"], passages, loaded


def _head(folder: Path, kind: str) -> dict[str, Any]:
    try:
        head = load_json((folder / _HEAD).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder / _HEAD} cannot be read: {error}; give the folder that `save` wrote"
        ) from error
    if not isinstance(head, dict) or not all(
        isinstance(head.get(part), dict) for part in ("settings", "files")
    ):
        raise ArtifactError(f"{folder / _HEAD} is not that of an index")
    if (head.get("kind"), head.get("version")) != (kind, _VERSION):
        raise ArtifactError(
            f"{folder} has an index of kind {head.get('kind')!r}, version {head.get('version')!r}; "
            f"expected {kind!r}, version {_VERSION}"
        )
    return head


def _npy(array: npt.NDArray[Any]) -> bytes:
    import numpy as np

    written = io.BytesIO()
    np.save(written, array, allow_pickle=False)
    return written.getvalue()


def _read_npy(path: Path) -> npt.NDArray[Any]:
    import numpy as np

    loaded: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    return loaded

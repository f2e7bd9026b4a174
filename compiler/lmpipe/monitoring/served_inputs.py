"""`ServedInputs`: counts the inputs that a run is served, by day, and keeps no input."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.errors import ArtifactError, StorageError
from lmpipe.foundation.atomic_files import lock_file, write_file
from lmpipe.foundation.canonical_json import pretty_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.storing import open_own
from lmpipe.monitoring.drift import Counted, Drift, find_drift
from lmpipe.monitoring.input_profile import InputProfile

SERVED = "served.json"
_DAYS_KEPT, _DAYS_COMPARED = 30, 7
_MOST_WAITING = 200  # inputs between two writes, so that measuring them takes little time

Days = dict[str, dict[str, Counted]]


class ServedInputs:
    """Counts the inputs of one run, from any thread.

    Args:
        folder: the run folder, which gets the counts.
        profile: what the inputs of the compile were like.
    """

    def __init__(self, folder: Path, profile: InputProfile) -> None:
        self.folder, self._profile = folder, profile
        self._lock = threading.Lock()
        self._waiting: list[Mapping[str, Any]] = []
        self._fields = profile.fields  # others, such as images, need not be kept until then

    @staticmethod
    def of(folder: Path) -> ServedInputs | None:
        """Open a run folder; None if it does not say what its inputs were like."""
        profile = InputProfile.read(folder)
        return None if profile is None else ServedInputs(folder, profile)

    def see(self, inputs: Mapping[str, Any]) -> None:
        """Take the inputs of a request; of many in a short time, only the first are counted."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append({name: inputs[name] for name in self._fields & inputs.keys()})

    def write(self) -> None:
        """Measure what was seen, and add the counts to those in the run folder.

        Raises:
            StorageError: if they cannot be written.
        """
        with self._lock:
            seen, self._waiting = self._waiting, []
            if not seen:
                return
            counts: dict[str, Counted] = {}
            for inputs in seen:
                for name, exceeds in self._profile.exceeded(inputs).items():
                    counts[name] = counts.get(name, Counted()) + Counted(1, int(exceeds))
            day = time.strftime("%Y-%m-%d", time.gmtime())
            _add(self.folder, day, counts)


def drift_of(folder: Path) -> Drift | None:
    """Return whether the inputs that a run was served leave what it was compiled on.

    The last seven days with requests count.

    Raises:
        ArtifactError: if a file of the folder is damaged.
    """
    if not (folder / SERVED).is_file():
        return None
    profile = InputProfile.read(folder)
    if profile is None:
        return None
    days = _read(folder)
    counts: dict[str, Counted] = {}
    for day in sorted(days)[-_DAYS_COMPARED:]:
        for name, counted in days[day].items():
            counts[name] = counts.get(name, Counted()) + counted
    return find_drift(profile, counts)


def _add(folder: Path, day: str, counts: Mapping[str, Counted]) -> None:
    """Add counts to those of a day; several processes may do so."""
    with os.fdopen(open_own(folder / ".served.lock", os.O_RDWR), "r+b") as lock:
        while not lock_file(lock):
            time.sleep(0.001)
        try:
            days = _read(folder)
        except ArtifactError as error:
            raise StorageError(f"{error}; remove it") from error
        today = days.setdefault(day, {})
        for name, counted in counts.items():
            today[name] = today.get(name, Counted()) + counted
        kept = sorted(days)[-_DAYS_KEPT:]
        found = {name: {key: item.to_json() for key, item in days[name].items()} for name in kept}
        write_file(folder / SERVED, pretty_json({"format": 1, "days": found}))


def _read(folder: Path) -> Days:
    file = folder / SERVED
    if not file.is_file():
        return {}
    try:
        days = load_json(file.read_bytes())["days"]
        return {
            day: {name: Counted.from_json(pair) for name, pair in counts.items()}
            for day, counts in days.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"{file} is damaged: {error}") from error

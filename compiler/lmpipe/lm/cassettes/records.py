"""Records in cassettes: results other than LM replies, such as those of trainings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmpipe.errors import CassetteError
from lmpipe.foundation.canonical_json import canonical_json, digest


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded result, such as a `training`: its kind, what identifies it, and its value."""

    kind: str
    subject: Mapping[str, Any]
    value: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The hash of its kind and subject."""
        return record_key(self.kind, self.subject)

    def line(self) -> bytes:
        """Return its line in the cassette."""
        return canonical_json({"record": self.kind, "subject": self.subject, "value": self.value})


def record_key(kind: str, subject: Mapping[str, Any]) -> str:
    """Return the hash that identifies a record."""
    return digest([kind, subject])


def read_record(line: Mapping[str, Any]) -> Record:
    """Read the JSON of a line, or raise a ValueError if it is not a record."""
    kind, subject, value = line["record"], line["subject"], line["value"]
    if not (isinstance(kind, str) and isinstance(subject, dict) and isinstance(value, dict)):
        raise ValueError("it is not a valid record")
    return Record(kind, subject, value)


def _elsewhere(subject: Mapping[str, Any]) -> dict[str, Any]:
    """A subject without the address of its server."""
    return {name: value for name, value in subject.items() if name != "base_url"}


@dataclass
class Records:
    """The records of a cassette, by key: those in the file, recorded since, and asked for."""

    recorded: dict[str, Record] = field(default_factory=dict)
    fresh: dict[str, Record] = field(default_factory=dict)
    played: dict[str, Record] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def has(self, kind: str) -> bool:
        """Return whether there is a record of a kind."""
        return any(item.kind == kind for item in (*self.recorded.values(), *self.fresh.values()))

    def find(self, key: str, *, reuse: bool) -> Record | None:
        """Return a record, or note that it is missing; `reuse` allows those in the file."""
        found = self.fresh.get(key) or (self.recorded.get(key) if reuse else None)
        if found is None:
            self.missing.add(key)
        else:
            self.played[key] = found
        return found

    def note(self, kind: str, subject: Mapping[str, Any], *, reuse: bool) -> Record | None:
        """Return a record that need not be there, if there is one.

        A record of the same model at another address will do, if it is the only one.
        """
        key = record_key(kind, subject)
        known = {**self.recorded, **self.fresh} if reuse else self.fresh
        same = [
            record
            for record in known.values()
            if record.kind == kind and _elsewhere(record.subject) == _elsewhere(subject)
        ]
        found = known.get(key) or (same[0] if len(same) == 1 else None)
        if found is not None:
            self.played[found.key] = found
        return found

    def add(self, record: Record) -> None:
        """Add a fresh record."""
        self.fresh[record.key] = self.played[record.key] = record
        self.missing.discard(record.key)

    def result(self, *, played_only: bool) -> Iterable[Record]:
        """Return the records that belong in the file at the end."""
        return (self.played if played_only else {**self.recorded, **self.fresh}).values()

    @property
    def unplayed(self) -> list[Record]:
        """The records in the file that nothing asked for."""
        return [record for key, record in self.recorded.items() if key not in self.played]


def explain_missing_record(
    kind: str, subject: Mapping[str, Any], records: Iterable[Record], *, path: Path, remedy: str
) -> str:
    """Say that a record is not in a cassette, and how it differs from the most similar one."""
    same_kind = [record.subject for record in records if record.kind == kind]
    differences = [list(_differences(recorded, subject)) for recorded in same_kind]
    lines = [f"{path} has no record of this {kind}"]
    if differences:
        lines.append(f"  most similar of {len(differences)}: [-recorded-] {{+requested now+}}")
        lines += [f"    {line}" for line in min(differences, key=len)]
    return "\n".join([*lines, "  if the change is intended, record again:", f"    {remedy}"])


def check_unplayed(records: Records, *, path: Path, remedy: str) -> None:
    """Raise a CassetteError if a record in a cassette was not asked for."""
    if left := records.unplayed:
        kinds = ", ".join(sorted({record.kind for record in left}))
        raise CassetteError(
            f"{path}: {len(left)} of its {len(records.recorded)} records ({kinds}) were not used\n"
            f"  to drop them, record again:\n    {remedy}"
        )


def _differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_flatten(recorded)), dict(_flatten(now))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} [-{old.get(name)}-] {{+{new.get(name)}+}}"


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item

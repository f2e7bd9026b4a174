"""`Cassette`: the recorded LM calls of one test or one compile, as one reviewable file."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self, get_args

from lmpipe.errors import CassetteError, CassetteMissError, ConfigError
from lmpipe.foundation.atomic_files import lock_file, write_file
from lmpipe.lm.cassettes.file_format import (
    RecordedCall,
    RecordedRequest,
    dump_call,
    dump_calls,
    read_cassette,
)
from lmpipe.lm.cassettes.records import (
    Record,
    Records,
    check_unplayed,
    explain_missing_record,
    record_key,
)
from lmpipe.lm.request import Reply, Request

if TYPE_CHECKING:
    from lmpipe.lm.runtime import ReplyStore

__all__ = ["MODES", "Cassette", "Mode", "RecordedCall", "RecordedRequest"]

Mode = Literal["none", "once", "new_episodes", "rewrite", "all"]
MODES: tuple[Mode, ...] = get_args(Mode)

_Key = tuple[str, str]


class Cassette:
    """Recorded LM calls, to be replayed without an LM. Safe to share between threads.

    What is recorded lies in `<path>.part` as it comes, and becomes the cassette when that is
    closed. A recording that was killed goes on from there.

    Args:
        path: the file.
        mode: `none` replays, and a call that is not recorded is an error; `once` records if there
            is no such file, and else is `none`; `new_episodes` replays what is recorded and adds
            what is not; `rewrite` starts afresh, and so drops what is not asked for any more;
            `all` asks the LM for every call, replaces what is recorded of them and keeps the
            others.
        remedy: the command that records again, for messages.

    Attributes:
        recording: whether calls are recorded, as the mode and the file have it.
        misses: the errors of the calls that were not found.

    Raises:
        CassetteError: if the file is damaged.
        ConfigError: if there is no such mode.
    """

    def __init__(self, path: str | Path, *, mode: Mode = "none", remedy: str = "") -> None:
        if mode not in MODES:
            raise ConfigError(f"cassette mode {mode!r}: expected one of {', '.join(MODES)}")
        self.path = Path(path)
        self.mode = mode
        self.misses: list[CassetteMissError] = []
        exists = self.path.is_file()
        self.recording = mode != "none" and not (mode == "once" and exists)
        self._remedy = remedy or f'Cassette("{self.path}", mode="rewrite")'
        self._lock = threading.Lock()
        read = exists and mode != "rewrite"
        self._calls, recorded = read_cassette(self.path) if read else ({}, {})
        self._records = Records(recorded)
        self._by_id: dict[str, list[RecordedCall]] = {}
        self._fresh: dict[_Key, RecordedCall] = {}
        self._played: dict[_Key, RecordedCall] = {}
        self._unanswered: set[_Key] = set()
        self._part: IO[bytes] | None = None
        self._closed = False
        if self.recording and self._part_path.is_file():
            self._fresh, self._records.fresh = read_cassette(self._part_path, torn=True)

    @property
    def played(self) -> tuple[RecordedCall, ...]:
        """The calls that were asked for, recorded just now or before, in the order of first use."""
        with self._lock:
            return tuple(self._played.values())

    @property
    def unplayed(self) -> tuple[RecordedCall, ...]:
        """The recorded calls that nothing asked for, in the order of the file."""
        with self._lock:
            return tuple(c for key, c in self._calls.items() if key not in self._played)

    @property
    def answered(self) -> bool:
        """Whether every call that was asked for has got its reply."""
        return not self._unanswered and not self.misses and not self._records.missing

    def get(self, key: str, request: Request) -> Reply | None:
        """The recorded reply to a request, marked as cached; None if the LM is to be asked.

        Raises:
            CassetteMissError: if it is not recorded and nothing is to be recorded.
        """
        asked = RecordedRequest.of(request)
        place = (asked.id(), asked.base_url)
        with self._lock:
            call = self._find(place)
            if call is not None:
                self._played[place if self.recording else _place(call)] = call
                return call.reply.as_cached()
            if self.recording:
                self._unanswered.add(place)
                return None
        raise self._miss(asked)

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Record the reply to a request.

        Raises:
            CassetteError: if it cannot be written.
        """
        call = RecordedCall(RecordedRequest.of(request), reply)
        place = _place(call)
        with self._lock:
            if self._closed or not self.recording:
                return
            self._fresh[place] = self._played[place] = call
            self._unanswered.discard(place)
            self._append(dump_call(call))

    def get_record(self, kind: str, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the recorded value about a subject; None if it has to be made.

        Raises:
            CassetteMissError: if it is not recorded and nothing is to be recorded.
        """
        with self._lock:
            found = self._records.find(record_key(kind, subject), reuse=self.mode != "all")
        if found is None and not self.recording:
            raise self._miss_record(kind, subject)
        return None if found is None else found.value

    def put_record(self, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Record a value about a subject.

        Raises:
            CassetteError: if it cannot be written.
        """
        record = Record(kind, subject, value)
        with self._lock:
            if self._closed or not self.recording:
                return
            self._records.add(record)
            self._append(record.line())

    def over(self, beneath: ReplyStore | None) -> ReplyStore:
        """This cassette in front of another store, which it does not hide from what is recorded.

        Replaying never touches the other store. Recording takes from it what it holds (but for
        mode `all`), so that nothing is paid for twice, and leaves new replies there too.
        """
        return LayeredStore(self, beneath)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish(well=error is None, interrupted=not isinstance(error, Exception | None))

    def finish(self, *, well: bool, interrupted: bool = False) -> None:
        """Close it; or abandon it, if what was recorded broke off before all replies were there.

        Args:
            well: whether what was recorded ended well.
            interrupted: whether somebody stopped it.
        """
        if well or (self.answered and not interrupted):
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Write the file, if this records; what is asked for later is not recorded."""
        with self._lock:
            if self._closed or not self.recording:
                return
            self._closed = True
            calls = self._result()
            records = list(self._records.result(played_only=self.mode == "rewrite"))
            data = dump_calls(calls, records)
            any_recorded = bool(calls or records)
            if any_recorded and not (self.path.is_file() and self.path.read_bytes() == data):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_file(self.path, data)
            elif not any_recorded:
                self.path.unlink(missing_ok=True)
            self._part_path.unlink(missing_ok=True)
            self._close_part()

    def abandon(self) -> None:
        """Leave the file as it is; what was recorded stays in `<path>.part` for the next time."""
        with self._lock:
            self._closed = True
            self._close_part()

    def check(self, *, allow_unplayed: bool = False) -> None:
        """Check, when all is done, that what was asked for is what is recorded.

        Args:
            allow_unplayed: whether recorded calls may be left over that nothing asked for.

        Raises:
            CassetteMissError: if a call was not found, even if somebody caught the error.
            CassetteError: if recorded calls are left over.
        """
        if self.misses:
            raise self.misses[0]
        left = () if self.recording or allow_unplayed else self.unplayed
        if left:
            from lmpipe.lm.cassettes.explain_miss import explain_unplayed

            total = len(self._calls)
            raise CassetteError(explain_unplayed(left, total, self.path, self._remedy))
        if not self.recording and not allow_unplayed:
            check_unplayed(self._records, path=self.path, remedy=self._remedy)

    def _find(self, place: _Key) -> RecordedCall | None:
        found = self._fresh.get(place)
        if found is None and self.mode != "all":
            found = self._calls.get(place) or (None if self.recording else self._elsewhere(place))
        return found

    def _elsewhere(self, place: _Key) -> RecordedCall | None:
        """The same call of a server at another address, where only one was recorded."""
        if not self._by_id:
            for (name, _), call in self._calls.items():
                self._by_id.setdefault(name, []).append(call)
        same = self._by_id.get(place[0], [])
        return same[0] if len(same) == 1 else None

    def _miss(self, asked: RecordedRequest) -> CassetteMissError:
        from lmpipe.lm.cassettes.explain_miss import explain_miss

        calls = list(self._calls.values())
        error = CassetteMissError(explain_miss(asked, calls, path=self.path, remedy=self._remedy))
        self.misses.append(error)
        return error

    def _miss_record(self, kind: str, subject: Mapping[str, Any]) -> CassetteMissError:
        records = self._records.recorded.values()
        error = CassetteMissError(
            explain_missing_record(kind, subject, records, path=self.path, remedy=self._remedy)
        )
        self.misses.append(error)
        return error

    def _result(self) -> list[RecordedCall]:
        if self.mode == "rewrite":  # what a killed recording left may not be asked for any more
            return list(self._played.values())
        return list({**self._calls, **self._fresh}.values())

    @property
    def _part_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    def _append(self, line: bytes) -> None:
        if self._part is None:
            self._part = self._open_part()
        self._part.write(line + b"\n")
        self._part.flush()

    def _open_part(self) -> IO[bytes]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self._part_path.open("a+b")
        if not lock_file(part):
            part.close()
            raise CassetteError(f"{self.path} is being recorded by another process already")
        # The last line of a recording that was killed may be torn.
        part.seek(0)
        whole = part.read().rfind(b"\n") + 1
        part.truncate(whole)
        if not whole:
            part.write(dump_calls([]))
        return part

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None


def _place(call: RecordedCall) -> _Key:
    return call.request.id(), call.request.base_url


class LayeredStore:
    """A cassette in front of a store."""

    def __init__(self, cassette: Cassette, beneath: ReplyStore | None) -> None:
        self._cassette = cassette
        self._beneath = beneath

    def get(self, key: str, request: Request) -> Reply | None:
        reply = self._cassette.get(key, request)
        if reply is None and self._beneath is not None and self._cassette.mode != "all":
            reply = self._beneath.get(key, request)
            if reply is not None:
                self._cassette.put(key, request, reply)
        return reply

    def put(self, key: str, request: Request, reply: Reply) -> None:
        self._cassette.put(key, request, reply)
        if self._beneath is not None:
            self._beneath.put(key, request, reply)

    def get_record(self, kind: str, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self._cassette.get_record(kind, subject)

    def put_record(self, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        self._cassette.put_record(kind, subject, value)

    def close(self) -> None:
        """Close the store beneath; the cassette belongs to those who opened it."""
        if self._beneath is not None:
            self._beneath.close()

"""`Cassette`: the recorded LM calls of one test or one compile, as one reviewable file."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from lmpipe.errors import CassetteError, CassetteMissError, ConfigError, StorageError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.line_file import LineFile
from lmpipe.foundation.storing import storing
from lmpipe.lm.cassettes.file_format import (
    RecordedCall,
    RecordedRequest,
    dump_call,
    dump_calls,
    read_cassette,
)
from lmpipe.lm.cassettes.media_folder import MediaFolder
from lmpipe.lm.cassettes.records import (
    Record,
    Records,
    check_unplayed,
    explain_missing_record,
    record_key,
)
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.tool_store import Result, ToolUse

__all__ = ["MODES", "Cassette", "Mode", "RecordedCall", "RecordedRequest"]

Mode = Literal["none", "once", "new_episodes", "rewrite", "all"]
MODES: tuple[Mode, ...] = get_args(Mode)

_Key = tuple[str, str]
_NOTE = "takes"  # the kind of the records of what a model takes
_TOOL = "tool"  # of the records of results of tools


def mode_to_record(path: str | Path) -> Mode:
    """Return the mode that records a cassette: for the first time, or again."""
    return "rewrite" if Path(path).is_file() else "once"


class Cassette:
    """Recorded LM calls that replay without an LM. Safe to share between threads.

    New calls are appended to `<path>.part`, which becomes the cassette when it is closed. After a
    kill, the next recording continues from that file. The bytes of images, sounds and files lie in
    `<path>.media/`.

    Args:
        path: the file.
        mode: `none` replays, and a call that is not recorded is an error. `once` records if the
            file does not exist, and else is `none`. `new_episodes` replays recorded calls and
            records others. `rewrite` starts a new cassette, so calls that are no longer made are
            dropped. `all` calls the LM every time, replaces the recordings of those calls and
            keeps the others.
        remedy: the command that records again, for error messages.
        record_tools: whether the results of tools are recorded, so that their replay runs no tool.
            A cassette that has such results replays them in any case.

    Attributes:
        recording: whether calls are recorded, according to the mode and the file.
        replays_tools: whether results of tools are recorded, or were.
        misses: the errors of calls that were not found.
        failure: the first error of writing, after which the recording is not complete, or None.

    Raises:
        CassetteError: if the file is damaged, or a file of its media is missing.
        StorageError: if it cannot be written; `<path>.part` keeps what was recorded before.
        ConfigError: if the mode does not exist.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mode: Mode = "none",
        remedy: str = "",
        record_tools: bool = False,
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"cassette mode {mode!r}: expected one of {', '.join(MODES)}")
        self.path = Path(path)
        self.mode = mode
        self.misses: list[CassetteMissError] = []
        self.failure: StorageError | None = None
        exists = self.path.is_file()
        self.recording = mode != "none" and not (mode == "once" and exists)
        self._remedy = remedy or f'Cassette("{self.path}", mode="{mode_to_record(self.path)}")'
        self._lock = threading.Lock()
        read = exists and mode != "rewrite"
        self._media = MediaFolder(self.path)
        self._calls, recorded = read_cassette(self.path, media=self._media) if read else ({}, {})
        self._records = Records(recorded)
        self._by_id: dict[str, list[RecordedCall]] = {}
        self._fresh: dict[_Key, RecordedCall] = {}
        self._played: dict[_Key, RecordedCall] = {}
        self._unanswered: set[_Key] = set()
        self._part: LineFile | None = None
        self._closed = False
        if self.recording and self._part_path.is_file():
            self._fresh, self._records.fresh = read_cassette(
                self._part_path, media=self._media, torn=True
            )
        self.replays_tools = record_tools or self._records.has(_TOOL)
        self._uses: Counter[str] = Counter()  # of tools, outside of a program's run

    @property
    def played(self) -> tuple[RecordedCall, ...]:
        """The calls made so far, replayed or recorded, in the order of first use."""
        with self._lock:
            return tuple(self._played.values())

    @property
    def unplayed(self) -> tuple[RecordedCall, ...]:
        """The recorded calls that were not made, in the order of the file."""
        with self._lock:
            return tuple(c for key, c in self._calls.items() if key not in self._played)

    @property
    def answered(self) -> bool:
        """Whether every call that was made has its reply."""
        return not self._unanswered and not self.misses and not self._records.missing

    def get(self, key: str, request: Request) -> Reply | None:
        """Return the recorded reply to a request, marked as cached, or None to call the LM.

        Raises a CassetteMissError if the call is not recorded and this cassette only replays.
        """
        recorded = RecordedRequest.of(request)
        call_key = recorded.key
        with self._lock:
            call = self._find(call_key)
            if call is not None:
                self._played[call_key if self.recording else call.request.key] = call
                return call.reply.as_cached()
            if self.recording:
                self._unanswered.add(call_key)
                return None
        from lmpipe.lm.cassettes.explain_miss import explain_miss

        calls = list(self._calls.values())
        raise self._miss(explain_miss(recorded, calls, path=self.path, remedy=self._remedy))

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Record the reply to a request, or raise a StorageError if it cannot be written."""
        call = RecordedCall(RecordedRequest.of(request), reply)
        call_key = call.request.key
        with self._lock:
            if self._closed or not self.recording:
                return
            self._fresh[call_key] = self._played[call_key] = call
            self._unanswered.discard(call_key)
            self._append(dump_call(call), request.messages)

    def get_record(self, kind: str, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the recorded value about a subject, or None if it has to be made; like `get`."""
        with self._lock:
            found = self._records.find(record_key(kind, subject), reuse=self.mode != "all")
        if found is None and not self.recording:
            known, remedy = self._records.recorded.values(), self._remedy
            raise self._miss(
                explain_missing_record(kind, subject, known, path=self.path, remedy=remedy)
            )
        return None if found is None else found.value

    def put_record(self, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Record a value about a subject; like `put`."""
        record = Record(kind, subject, value)
        with self._lock:
            if self._closed or not self.recording:
                return
            self._records.add(record)
            self._append(record.line())

    def find_tool_result(self, use: ToolUse) -> Result | None:
        """Return the recorded result of a tool, or None to run it; like `get`."""
        if not self.replays_tools:
            return None
        if use.repeat is None:
            key = record_key(_TOOL, use.subject)
            with self._lock:
                use.repeat, self._uses[key] = self._uses[key], self._uses[key] + 1
        return self.get_record(_TOOL, use.subject)

    def put_tool_result(self, use: ToolUse, result: Result) -> Result:
        """Record the result of a tool, and return it, or the one that was recorded before."""
        record = Record(_TOOL, use.subject, result)
        with self._lock:
            if not self.replays_tools or self._closed or not self.recording:
                return result
            # Equal rows may run at the same time; a replay gives them all the same result.
            if (known := self._records.fresh.get(record.key)) is not None:
                return known.value
            self._records.add(record)
            self._append(record.line())
        return result

    def find_note(self, subject: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what is recorded about a model, or None, which is not a miss."""
        with self._lock:
            found = self._records.note(_NOTE, subject, reuse=self.mode != "all")
        return None if found is None else found.value

    def put_note(self, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Record what was learned about a model; like `put`."""
        self.put_record(_NOTE, subject, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.finish(well=error is None, interrupted=not isinstance(error, Exception | None))

    def finish(self, *, well: bool, interrupted: bool = False) -> None:
        """Close the cassette, or abandon it if the recording stopped before all replies came.

        `well` is whether the recorded code succeeded, `interrupted` whether the user stopped it.
        """
        if well or (self.answered and not interrupted):
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Write the file if calls were recorded; later calls are not recorded."""
        with self._lock:
            if self._closed or not self.recording:
                return
            self._closed = True
            # In mode `rewrite`, calls of a killed recording may no longer be made.
            final = self._played if self.mode == "rewrite" else {**self._calls, **self._fresh}
            calls = list(final.values())
            records = list(self._records.result(played_only=self.mode == "rewrite"))
            data = dump_calls(calls, records)
            any_recorded = bool(calls or records)
            try:
                with storing(self.path):
                    if any_recorded and not (
                        self.path.is_file() and self.path.read_bytes() == data
                    ):
                        self.path.parent.mkdir(parents=True, exist_ok=True)
                        write_file(self.path, data)
                    elif not any_recorded:
                        self.path.unlink(missing_ok=True)
                    self._part_path.unlink(missing_ok=True)
                    self._media.keep_only(m for call in calls for m in call.request.messages)
            finally:
                self._close_part()

    def abandon(self) -> None:
        """Keep the file as it is, and the new calls in `<path>.part` for the next recording."""
        with self._lock:
            self._closed = True
            self._close_part()

    def check(self, *, allow_unplayed: bool = False) -> None:
        """Check at the end that the calls made are the calls recorded.

        Args:
            allow_unplayed: whether some recorded calls may not have been made.

        Raises:
            CassetteMissError: if a call was not found, even if that error was caught.
            CassetteError: if recorded calls were not made.
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

    def _find(self, call_key: _Key) -> RecordedCall | None:
        found = self._fresh.get(call_key)
        if found is None and self.mode != "all":
            found = self._calls.get(call_key)
            if found is None and not self.recording:
                found = self._find_elsewhere(call_key)
        return found

    def _find_elsewhere(self, call_key: _Key) -> RecordedCall | None:
        """Return the same call to a server at another address, if exactly one was recorded.

        Or the same call of an embedded LM whose weights are not on this machine.
        """
        if not self._by_id:
            for (name, _), call in self._calls.items():
                self._by_id.setdefault(name, []).append(call)
                if "weights" in call.request.lm:
                    self._by_id.setdefault(call.request.without_weights.id(), []).append(call)
        same = self._by_id.get(call_key[0], [])
        return same[0] if len(same) == 1 else None

    def _miss(self, explanation: str) -> CassetteMissError:
        error = CassetteMissError(explanation)
        self.misses.append(error)
        return error

    @property
    def _part_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    def _append(self, line: bytes, messages: Sequence[Message] = ()) -> None:
        """Append a line; the media of its messages are stored first."""
        try:
            if self._part is None:
                self._part = self._open_part()
            self._media.add(messages)
            self._part.append(line)
        except StorageError as error:
            self.failure = self.failure or error
            raise

    def _open_part(self) -> LineFile:
        with storing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        part = LineFile(self._part_path)
        try:
            if not part.lock():
                raise CassetteError(f"{self.path} is already being recorded by another process")
            part.drop_torn_line()
            if part.empty:
                part.append(dump_calls([]).rstrip())
        except BaseException:
            part.close()
            raise
        return part

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

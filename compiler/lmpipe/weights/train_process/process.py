"""The process around a training: read the job, report events, and end with the parent.

Events go to standard output as lines of JSON, everything else to standard error. The process ends
when its standard input closes. It resumes from `WORK/checkpoints` and writes to `WORK/result`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, NoReturn

from .failures import Failure, explain
from .training import train, write_json


class Channel:
    """Writes the events that the parent reads to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def send(self, event: str, **fields: Any) -> None:
        try:
            self._file.write(json.dumps({"event": event, **fields}) + "\n")
            self._file.flush()
        except BrokenPipeError:
            os._exit(3)  # the parent no longer waits for the weights


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    channel = Channel(os.dup(1))
    os.dup2(2, 1)  # what libraries print must not mix with the events
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome = train(job, channel)
        write_json(os.path.join(job["work"], "outcome.json"), outcome)
        channel.send("done")
    except Failure as failure:
        _fail(channel, str(failure))
    except Exception as error:  # noqa: BLE001 - the traceback is logged, the parent gets the message
        import traceback

        traceback.print_exc()
        _fail(channel, explain(error, job))


def _fail(channel: Channel, message: str) -> NoReturn:
    channel.send("failed", message=message)
    sys.exit(1)


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin, whose lock would block the exit
        pass
    os._exit(3)

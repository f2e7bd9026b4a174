"""Write a program's prompts as files that need no framework."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lmpipe.errors import ExportError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import pretty_json
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.storing import storing
from lmpipe.integrations.export.document import prompt_document
from lmpipe.integrations.export.jinja import check_templates, jinja_document
from lmpipe.integrations.export.parity import (
    READERS,
    Parity,
    check_parity,
    compare_fields,
    compare_messages,
    node_command,
    python_command,
)
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from lmpipe.integrations.export.recorded_calls import (
    RecordedCall,
    exportable_predictors,
)
from lmpipe.modules.module import Module
from lmpipe.weights.trainings import folder_name

PromptFormat = Literal["messages", "typescript", "openai", "jinja"]
_URL = "/v1/chat/completions"
_READERS = {
    "messages": ("prompt_reader.py", "prompt_extras.py"),
    "typescript": (
        *("prompt_reader.mjs", "prompt_reader.d.mts"),
        *("prompt_extras.mjs", "prompt_extras.d.mts"),
    ),
}


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Args:
        files: the files.
        parity: the comparison with the runtime; None if it was not made.
        uncalled: the predictors without a call in the comparison.
        compared: what the comparison has shown, for people.
    """

    files: tuple[Path, ...]
    parity: Parity | None
    uncalled: tuple[str, ...] = ()
    compared: str = "the same as in the runtime"


def export_prompts(
    program: Module,
    folder: Path,
    form: PromptFormat,
    *,
    calls: Sequence[RecordedCall] | None,
    allow_unread: bool = False,
) -> Exported:
    """Write the prompts of a program, for the configured LM, into a folder.

    Args:
        program: the program, bound to what was learned.
        folder: where the files are written.
        form: `messages` writes a document for each predictor with a reader in Python,
            `typescript` the same with a reader in JavaScript, `openai` the bodies of all calls as
            the input of OpenAI's Batch API, and `jinja` templates of the messages.
        calls: those of the program on its validation examples, by which the export is compared
            with the runtime; None leaves that out.
        allow_unread: whether the readers may refuse a reply that the runtime reads.

    Raises:
        ExportError: if a prompt cannot be exported, or an export differs from the runtime. The
            files are written all the same, so that one can look at them.
    """
    documents = {
        path: prompt_document(path, predictor)
        for path, predictor in exportable_predictors(program).items()
    }
    if not documents:
        raise ExportError("the program has no predictors, and so no prompts to export")
    if calls is not None and not calls:
        raise ExportError(
            "the program calls no predictor on the examples, so nothing can be compared: give "
            "others with --data, or export without the comparison (--unchecked)"
        )
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if form == "openai":
        exported = _write_bodies(folder, documents, calls)
    elif form == "jinja":
        exported = _write_templates(folder, documents, calls)
    else:
        exported = _write_documents(folder, documents, form, calls, allow_unread=allow_unread)
    called = {call.predictor for call in calls or ()}
    uncalled = () if calls is None else tuple(path for path in documents if path not in called)
    return replace(exported, uncalled=uncalled)


def _write_documents(
    folder: Path,
    documents: Mapping[str, Mapping[str, Any]],
    form: Literal["messages", "typescript"],
    calls: Sequence[RecordedCall] | None,
    *,
    allow_unread: bool,
) -> Exported:
    files = _write_json(folder, documents)
    readers = _READERS[form]
    if form == "messages" and not any(document["extras"] for document in documents.values()):
        readers = readers[:1]
    for name in readers:
        shutil.copyfile(READERS / name, folder / name)
    written = (*files.values(), *(folder / name for name in readers))
    if calls is None:
        return Exported(written, None)
    command = python_command() if form == "messages" else node_command()
    names = {path: file.name for path, file in files.items()}
    parity = check_parity(folder, names, calls, command, allow_unread=allow_unread)
    return Exported(written, parity)


def _write_templates(
    folder: Path,
    documents: Mapping[str, Mapping[str, Any]],
    calls: Sequence[RecordedCall] | None,
) -> Exported:
    templates = {path: jinja_document(document) for path, document in documents.items()}
    files = _write_json(folder, templates)
    parity = None if calls is None else check_templates(documents, templates, calls)
    return Exported(tuple(files.values()), parity)


def _write_bodies(
    folder: Path,
    documents: Mapping[str, Mapping[str, Any]],
    calls: Sequence[RecordedCall] | None,
) -> Exported:
    if calls is None:
        raise ExportError(
            "--format openai writes the calls that the program makes on its examples: leave out "
            "--unchecked, or choose --format messages"
        )
    files = []
    for path, document in documents.items():
        lines, prompt = [], Prompt(document)
        for number, call in enumerate((each for each in calls if each.predictor == path), start=1):
            body = prompt.request(dict(call.inputs), call.vector)
            compare_messages(call, [body["messages"]])
            compare_fields(call, document["request"])
            name = f"{path}-{number}"
            line = {"custom_id": name, "method": "POST", "url": _URL, "body": body}
            lines.append(dump_json(line) + b"\n")
        files.append(folder / f"{folder_name(path)}.jsonl")
        write_file(files[-1], b"".join(lines))
    return Exported(tuple(files), Parity(len(calls)))


def _write_json(folder: Path, documents: Mapping[str, Any]) -> dict[str, Path]:
    files = {path: folder / f"{folder_name(path)}.json" for path in documents}
    for path, file in files.items():
        write_file(file, pretty_json(documents[path], sort_keys=False))
    return files

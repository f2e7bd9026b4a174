"""Say what predictors of DSPy ask: `ask_module.py FOLDER`, jobs as JSON on stdin.

It loads an exported program in a process of its own, with nothing but DSPy. It is not exported.
"""

import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import dspy
from pydantic import TypeAdapter


class RecordingLM(dspy.BaseLM):  # type: ignore[misc]
    """Notes the messages that it is asked, and replies with a given text."""

    def __init__(self, reply: str) -> None:
        super().__init__("recording")
        self.reply = reply
        self.asked: list[Any] = []

    def __call__(self, prompt: Any = None, *, messages: Any = None, **settings: Any) -> list[str]:
        """Note the messages and settings of a call."""
        self.asked.append({"messages": messages, "settings": settings})
        return [self.reply]


def ask(predictor: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Run a predictor on inputs, with a reply that has the outputs; both are JSON values by name.

    Returns:
        What its LM was asked, and the outputs that it read, or None.
    """
    fields, adapter = predictor.signature.fields, dspy.ChatAdapter()
    types = {name: TypeAdapter(field.annotation) for name, field in fields.items()}
    given, replied = (
        {name: types[name].validate_python(value) for name, value in values.items()}
        for values in (inputs, outputs)
    )
    lm = RecordingLM(adapter.format_assistant_message_content(predictor.signature, replied))
    try:
        with dspy.context(lm=lm, adapter=adapter):
            result = predictor(**given)
    except dspy.AdapterParseError:  # as of a call without outputs, which failed
        return {"asked": lm.asked, "read": None}
    read = {n: types[n].dump_python(result[n], mode="json") for n in outputs if n in result}
    return {"asked": lm.asked, "read": read}


def main(folder: str) -> None:
    """Answer the jobs for the program in a folder."""
    sys.path.insert(0, folder)
    dspy.disable_logging()
    program: Any = importlib.import_module("dspy_program").load()
    predictors = dict(program.named_predictors())
    jobs = json.load(sys.stdin)
    results = [ask(predictors[job["path"]], job["inputs"], job["outputs"]) for job in jobs]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])

"""Write the requests of an exported prompt and read the replies; needs nothing but Python 3.9.

prompt = Prompt(json.loads(pathlib.Path("route.json").read_text(encoding="utf-8")))
body = prompt.request({"message": "It is late."})  # of POST /v1/chat/completions
values = prompt.parse(reply["choices"][0]["message"])  # by name; on a ValueError ask again
"""

import importlib
import json
import re
from typing import Any

AROUND = " \t\r\n.,;:!\"'`*()[]\u201c\u201d\u2018\u2019"
KINDS: Any = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def dump(value: Any) -> str:
    """Write a JSON value on one line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{dump(key)}:{dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    number = isinstance(value, float) and re.sub(r"(\d)\.?(\d*)e-05", r"0.0000\1\2", text)
    return number.replace("e-0", "e-") if number else text


def spell(field: Any, value: Any) -> str:
    text = value if isinstance(value, str) and not field["json"] else dump(value)
    return str(text if isinstance(value, str) else field["spelled"].get(text, text))


def trim(text: str) -> str:
    """Drop blank lines before a text, one space, and white space after it."""
    indent = re.split(r"[^ \t]", text[: len(text) - len(text.lstrip())])[-1]
    return text.strip() if indent == " " or not text.strip() else indent + text.strip()


def escape(text: str, rule: Any, back: bool = False) -> str:
    """Write a backslash before each line that looks like a mark, or take it back."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if rule["rest" if number else "first"] and re.match(rule["pattern"], line):
            lines[number] = line[line.startswith("\\") :] if back else "\\" + line
    return "\n".join(lines)


class Prompt:
    def __init__(self, document: Any) -> None:
        self.doc, self.fields = document, {**document["inputs"], **document["outputs"]}
        name = f"{__package__ or ''}.prompt_extras".lstrip(".")
        self.extras: Any = document["extras"] and importlib.import_module(name)

    def request(self, inputs: Any, vector: Any = None) -> Any:
        return {**self.doc["request"], "messages": self.messages(inputs, vector)}

    def messages(self, inputs: Any, vector: Any = None) -> Any:
        values, first = self.complete("inputs", inputs), self.doc["messages"]
        if self.extras:
            return self.extras.messages(self, values, vector)
        ending = self.doc["reminder"] if self.doc["remind"] or len(first) == 1 else ""
        text = (self.write("question", values) or "Go ahead.") + ending
        return [*first, {"role": "user", "content": text}]

    def complete(self, side: str, given: Any) -> Any:
        """Check values by name, and add those that may be left out."""
        fields, values = self.doc[side], {**self.doc["defaults"][side], **given}
        if wrong := values.keys() ^ fields.keys():
            raise ValueError(f"missing or unknown: {', '.join(wrong)}")
        return {name: self.check(field, values[name]) for name, field in fields.items()}

    def check(self, field: Any, value: Any) -> Any:
        kind, size = KINDS.get(type(value)), len(value) if isinstance(value, str) else value
        if field["deep"] or (kind == "null" and field["optional"]):
            return self.extras.fit(self, field, value) if field["deep"] else None
        known = kind in field["kinds"] and field["low"] <= size <= field["high"]
        if not known or not re.search(field["match"], str(value)):
            raise ValueError(f"{value!r:.99} is not {field}")
        return float(value) if field["kinds"][0] == "number" else value

    def write(self, side: str, values: Any) -> str:
        template, texts = self.doc[side], []
        for slot in (slot for slot in template["slots"] if slot["name"] in values):
            value, field = values[slot["name"]], self.fields[slot["name"]]
            text = dump(value) if template["json"] else spell(field, value)
            text = escape(trim(text) if template["trim"] else text, template["rule"])
            texts.append(slot["before"] + text + slot["after"])
        return str(template["open"] + template["between"].join(texts) + template["close"])

    def parse(self, reply: Any) -> Any:
        """Read the outputs by name from a reply: its text, or the message that has it."""
        how, reply = self.doc["reply"], reply if isinstance(reply, dict) else {"content": reply}
        called = reply.get("tool_calls") and self.extras.called(self, reply)
        text = called or reply.get("content") or ""
        if how["pattern"]:
            match = re.search(how["pattern"], text)
            parts = zip(how["names"], match.groups()) if match else ()
            found = {n: escape(t, how["rule"], True) for n, t in parts if t is not None}
        else:
            whole = json.loads(text[text.find("{") : text.rfind("}") + 1])
            found = {name: whole[name] for name in how["names"] if name in whole}
        if not found:
            raise ValueError(f"the reply has none of {', '.join(how['names'])}: {text:.99}")
        values = {name: self.read(self.fields[name], part) for name, part in found.items()}
        thoughts = {name: reply.get("reasoning_content") or "" for name in how["thoughts"]}
        return self.complete("outputs", {**values, **thoughts})

    def read(self, field: Any, part: Any) -> Any:
        if not isinstance(part, str) or not field["worded"]:
            return part
        word, words = part.strip(), field["words"]
        folded = re.sub("[_-]", " ", word.strip(AROUND).casefold())
        if word.strip(" .\"'`").lower() in field["nones"]:
            return None
        if (known := "=" + word if "=" + word in words else folded) in words:
            return words[known]
        if field["number"] and re.fullmatch(field["number"], word):
            return json.loads(word.replace(",", ""))
        return json.loads(word) if field["json"] else trim(part)

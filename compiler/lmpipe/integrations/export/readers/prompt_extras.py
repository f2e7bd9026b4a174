"""What only some prompts need beside `prompt_reader.py`; needs nothing but Python 3.9.

Lists and objects, earlier turns of a conversation, images and other media, passages, the steps of
an agent, and demonstrations that are chosen for each call.
"""

import hashlib
import importlib
import json
import math
import re
import struct
import unicodedata
from typing import Any

READER: Any = importlib.import_module(f"{__package__ or ''}.prompt_reader".lstrip("."))
KINDS: Any = {**READER.KINDS, dict: "object"}
SIZED = ("string", "array", "object")
# What stands for a medium in a text: in its own place, or named there and shown below.
PLACED, NAMED, END = "\ufdd0", "\ufdd2", "\ufdd1"
AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def fit(prompt: Any, field: Any, value: Any) -> Any:
    """Check a value, and add the defaults that it lacks; a ValueError says what is wrong."""
    return _fit(field["check"], value, prompt.doc["types"])


def _fit(check: Any, value: Any, types: Any) -> Any:
    while "ref" in check:
        check = types[check["ref"]]
    if "any" in check:
        return _only(check["any"], value, types)
    found = KINDS.get(type(value), "array")
    kind = check.get("is", found)
    size = value if found in ("integer", "number") else len(value) if found in SIZED else 0
    if (
        kind not in (found, "number" if found == "integer" else found)
        or not check.get("low", size) <= size <= check.get("high", size)
        or _key(value) not in map(_key, check.get("of", [value]))
        or ("match" in check and not re.search(check["match"], value))
    ):
        raise ValueError(f"{value!r:.99} does not fit {check!r:.199}")
    if kind == "array" and "items" in check:
        each = [*check["places"], *[check["items"]] * size]
        items = [_fit(one, item, types) for one, item in zip(each, value)]
        distinct = {_key(item): item for item in items}
        return [distinct[key] for key in sorted(distinct)] if check["set"] else items
    if kind == "object" and "keys" in check:
        return _fit_object(check, value, types)
    if check.get("code"):
        return _without_fence(value)
    return float(value) if kind == "number" else value


def _fit_object(check: Any, value: Any, types: Any) -> Any:
    keys, rest = check["keys"], check["rest"]
    more = {} if rest is None else {key: item for key, item in value.items() if key not in keys}
    unknown = value.keys() - keys.keys()
    if unknown and (rest is False or (rest is None and unknown == value.keys())):
        raise ValueError(f"{value!r:.99} has keys other than {', '.join(keys)}")
    given = {**check["defaults"], **value}
    if lacking := [key for key in check["needs"] if key not in given]:
        raise ValueError(f"{value!r:.99} lacks {', '.join(lacking)}")
    made = {key: _fit(one, given[key], types) for key, one in keys.items() if key in given}
    return {**made, **{key: _fit(rest, item, types) for key, item in more.items()}}


def _without_fence(text: str) -> str:
    """Return the code in a text, which may be fenced."""
    fences = len(re.findall(r"^```", text, re.MULTILINE))
    fenced = re.fullmatch(r"\s*```[^`\n]*\n(?:([\s\S]*)\n)?```\s*", text)
    if fences and not (fenced and fences == 2):
        raise ValueError(f"{text!r:.99} has code and other text")
    return fenced[1] or "" if fenced else text


def _only(options: Any, value: Any, types: Any) -> Any:
    """The only reading of a value that may be of several types."""
    found = []
    for option in options:
        try:
            found.append(_fit(option, value, types))
        except ValueError:
            continue
    exact = [item for item in found if type(item) is type(value)] or found
    if len(set(map(_key, exact))) != 1:
        raise ValueError(f"{value!r:.99} has {len(exact)} readings")
    return exact[0]


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def messages(prompt: Any, values: Any, vector: Any = None) -> Any:
    """Write the messages of a call, whose values are checked.

    The vector is the embedding of `embedded_text`, if demonstrations are chosen by embeddings.
    """
    doc = prompt.doc
    turns = [*doc["messages"], *(_nearest(prompt, values, vector) if doc["pool"] else ())]
    ending = doc["reminder"] if doc["remind"] or len(turns) == 1 else ""
    given = {k: v for k, v in values.items() if k not in (*doc["histories"], doc["steps"]["input"])}
    for turn in [
        turn for name in doc["histories"] for turn in (values[name] or {}).get("turns", ())
    ]:
        if turn.keys() == {"role", "content"}:
            turns.append(turn)
        else:
            ending = ""
            fitted = {name: _softly(prompt, name, value) for name, value in turn.items()}
            turns += [_user_turn(prompt, fitted), *_reply_turns(prompt, fitted)]
    for name in doc["histories"]:
        for message in (values[name] or {}).get("messages", ()):  # as DSPy has them
            turns += _dspy_turns(prompt, message)
    trajectory = values.get(doc["steps"]["input"]) or {}
    note = f"\n\n{_left_out(trajectory)}" if trajectory.get("left_out") else ""
    steps = _native_steps if doc["steps"]["native"] else _written_steps
    return [*turns, _user_turn(prompt, given, ending + note), *steps(prompt, trajectory)]


def _dspy_turns(prompt: Any, message: Any) -> list[Any]:
    """Write an earlier turn of a conversation as DSPy does."""
    inputs = {name: value for name, value in message.items() if name in prompt.doc["inputs"]}
    outputs = {name: message.get(name) for name in prompt.doc["outputs"]}
    asked, said = _dspy_text(prompt, "question", inputs), _dspy_text(prompt, "answer", outputs)
    replied = {"role": "assistant", "content": said.strip() + prompt.doc["answer"]["close"]}
    user = {"role": "user", "content": asked + prompt.doc["reminder"]}
    return [user, replied] if asked else [replied]


def _dspy_text(prompt: Any, side: str, values: Any) -> str:
    template = prompt.doc[side]
    texts = [
        slot["before"] + _dspy_value(prompt.fields[slot["name"]], values[slot["name"]])
        for slot in template["slots"]
        if slot["name"] in values
    ]
    return str(template["between"].join(texts))


def _dspy_value(field: Any, value: Any) -> str:
    if isinstance(value, float) or (isinstance(value, list) and not field["deep"]):
        raise ValueError(f"{value!r:.99} in an earlier turn: give a text, or what is declared")
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _user_turn(prompt: Any, values: Any, ending: str = "") -> Any:
    media: list[Any] = []
    in_json = prompt.doc["question"]["json"]
    shown = {
        name: _shown(prompt.fields[name], value, in_json, media)
        for name, value in values.items()
        if name in prompt.doc["inputs"]
    }
    text = prompt.write("question", shown) or "Go ahead."
    return {"role": "user", "content": _content(text, media, ending) if media else text + ending}


def _reply_turns(prompt: Any, outputs: Any) -> Any:
    """Write outputs as a reply; in the layout `tools` it is a call, and the note of its receipt."""
    text, tool = prompt.write("answer", outputs), prompt.doc["answer"]["tool"]
    if not tool:
        return [{"role": "assistant", "content": text}]
    call = _call(text, tool, text)
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [said, {"role": "tool", "tool_call_id": call["id"], "content": "Received."}]


def _call(named: str, tool: str, arguments: str) -> Any:
    name = hashlib.sha256(named.encode(errors="replace")).hexdigest()[:9]
    return {"id": name, "type": "function", "function": {"name": tool, "arguments": arguments}}


def _softly(prompt: Any, name: str, value: Any) -> Any:
    """A value of an earlier turn with the defaults that it lacks; a wrong one stays as it is."""
    field = prompt.fields.get(name)
    try:
        return fit(prompt, field, value) if field and field["deep"] else value
    except ValueError:
        return value


def called(prompt: Any, reply: Any) -> str:
    """Return the text of a reply that calls tools, as `parse` reads it."""
    calls = [call["function"] for call in reply["tool_calls"]]
    if not prompt.doc["steps"]["native"]:
        if len({call["arguments"] for call in calls}) > 1:
            raise ValueError("the reply calls the tool more than once")
        return str(calls[0]["arguments"] or "{}")
    thought, tool, arguments, more = prompt.doc["steps"]["fields"]
    named = [{"name": c["name"], "arguments": json.loads(c["arguments"] or "{}")} for c in calls]
    first = {tool: named[0]["name"], arguments: named[0]["arguments"], more: named[1:]}
    return json.dumps({thought: (reply.get("content") or "").strip(), **first})


# Values that are shown as texts and media.


def _shown(field: Any, value: Any, in_json: bool, media: list[Any]) -> Any:
    kind = field["parts"]
    if kind == "media":
        return _marked(value, media, PLACED if not in_json else NAMED)
    if kind == "spaced" and value is not None and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if kind == "trajectory" and value is not None:
        return _trajectory(value)
    if kind == "passages" and value:
        if isinstance(value, dict):
            return _passage(field, value)
        texts = [_passage(field, item) for item in value]
        return texts if in_json else "\n\n".join(f"[{n}] {t}" for n, t in enumerate(texts, 1))
    return value


def _passage(field: Any, value: Any) -> str:
    heads = [(name, " ".join((value.get(key) or "").split())) for name, key in field["heads"]]
    lines = [f"{name}: {text}" for name, text in heads if text]
    return "\n".join([*lines, "", value["text"]] if lines else [value["text"]])


def _marked(value: Any, media: list[Any], mark: str) -> Any:
    """Put marks in place of media."""
    if isinstance(value, list):
        return [_marked(item, media, NAMED) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_medium(value):
        media += [(kind, _part(kind, about)) for kind, about in value.items()]
        return f"{mark}{len(media) - 1}{END}"
    return {key: _marked(item, media, NAMED) for key, item in value.items()}


def _is_medium(value: Any) -> bool:
    kind, about = next(iter(value.items()), ("", {}))
    known = len(value) == 1 and kind in ("image", "audio", "file") and isinstance(about, dict)
    return known and bool(about.keys() & {"data", "url"})


def _part(kind: str, about: Any) -> Any:
    """Write a medium as a part of a message."""
    url = about.get("url") or f"data:{about['media_type']};base64,{about['data']}"
    if kind == "image":
        detail = {"detail": about["detail"]} if about.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": url, **detail}}
    if "url" in about:
        raise ValueError(f"a chat completion takes no {kind} at a URL: give its bytes")
    if kind == "audio":
        form = about["media_type"].partition("/")[2].partition(";")[0]
        audio = {"data": about["data"], "format": AUDIO.get(form, form)}
        return {"type": "input_audio", "input_audio": audio}
    named = {"filename": about["name"]} if about.get("name") else {}
    return {"type": "file", "file": {"file_data": url, **named}}


def _content(text: str, media: Any, ending: str) -> Any:
    """Cut a text at its marks; what is named there follows it."""
    parts, after, counts = [], [], {"image": 0, "audio": 0, "file": 0}
    for piece in re.split(f"([{PLACED}{NAMED}][0-9]+{END})", text):
        if piece[:1] not in (PLACED, NAMED):
            parts.append({"type": "text", "text": piece})
            continue
        kind, part = media[int(piece[1:-1])]
        if piece[0] == NAMED:
            counts[kind] += 1
            name = f"<{kind} {counts[kind]}>"
            parts.append({"type": "text", "text": name})
            after += [{"type": "text", "text": f"\n\n{name}\n"}, part]
        else:
            parts.append(part)
    joined: list[Any] = []
    for part in [*parts, *after]:
        if joined and part["type"] == joined[-1]["type"] == "text":
            joined[-1] = {"type": "text", "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    joined = [part for part in joined if part["type"] != "text" or part["text"].strip()]
    if ending and joined[-1]["type"] == "text":
        joined[-1] = {"type": "text", "text": joined[-1]["text"] + ending}
    elif ending:
        joined.append({"type": "text", "text": ending})
    return joined


# The steps of an agent.


def _left_out(trajectory: Any) -> str:
    count = trajectory["left_out"]
    return f"({count} earlier step{'s are' if count > 1 else ' is'} left out.)"


def _observed(step_doc: Any, action: Any, earlier: list[str]) -> list[Any]:
    """The parts of the result of a call, with a note if the call is repeated."""
    note = step_doc["repeated"] if _key(action) in earlier else ""
    earlier.append(_key(action))
    found = action.get("observation") or ""
    if isinstance(found, str):
        return [{"type": "text", "text": (found or step_doc["empty"]) + note}]
    parts: list[Any] = []
    for item in found:
        kind, about = next(iter(item.items())) if isinstance(item, dict) else ("text", item)
        parts.append({"type": "text", "text": about} if kind == "text" else _part(kind, about))
    return [*parts, {"type": "text", "text": note}] if note else parts


def _text_or_parts(parts: Any) -> Any:
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return [part for part in parts if part["type"] != "text" or part["text"]]


def _written_steps(prompt: Any, trajectory: Any) -> Any:
    """Steps whose calls the LM wrote as text."""
    about, turns, earlier = prompt.doc["steps"], [], list[str]()
    for step in trajectory.get("steps", ()):
        for action in step["actions"]:
            said = [step.get("thought", ""), action["tool"], action.get("arguments", {})]
            turns += _reply_turns(prompt, dict(zip(about["fields"], said)))
            head = about["failed" if action.get("error") else "result"].format(action["tool"])
            parts = [{"type": "text", "text": f"{head}\n"}, *_observed(about, action, earlier)]
            turns.append({"role": "user", "content": _text_or_parts(parts)})
    return turns


def _native_steps(prompt: Any, trajectory: Any) -> Any:
    """Steps whose calls are native."""
    about, turns, earlier = prompt.doc["steps"], list[Any](), list[str]()
    for number, step in enumerate(trajectory.get("steps", ()), trajectory.get("left_out", 0)):
        calls, results, media = [], [], []
        for place, action in enumerate(step["actions"]):
            written = READER.dump(action.get("arguments", {}))
            named = repr((("", number, place), action["tool"], written))
            calls.append(_call(named, action["tool"], written))
            parts = _observed(about, action, earlier)
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            media += [part for part in parts if part["type"] != "text"]
            content = text or about["media_below"]
            results.append({"role": "tool", "tool_call_id": calls[-1]["id"], "content": content})
        said = {"role": "assistant", "content": step.get("thought") or None, "tool_calls": calls}
        turns += [said, *results, *([{"role": "user", "content": media}] if media else ())]
    return turns


def _trajectory(value: Any) -> str:
    """Write steps as one text, for the prompt that reads the answer from them."""
    first = value.get("left_out", 0)
    parts = [_left_out(value)] if first else []
    for number, step in enumerate(value.get("steps", ()), 1 + first):
        parts.append(
            f"Step {number}" + (f"\nThought: {step['thought']}" if step.get("thought") else "")
        )
        for action in step["actions"]:
            parts[-1] += "\n" + _action(action)
    return "\n\n".join(parts) or "(no steps)"


def _action(action: Any) -> str:
    found, arguments = action.get("observation", ""), action.get("arguments", {})
    if not isinstance(found, str) and not all(isinstance(item, str) for item in found):
        raise ValueError("media in the steps of an agent cannot be written as text")
    text, code = "".join(found), arguments.get("code")
    if action["tool"] == "python" and isinstance(code, str):
        return f"Code:\n```python\n{code}\n```\nOutput:\n{text}"
    what = "Error" if action.get("error") else "Result"
    return f"Call: {action['tool']}({READER.dump(arguments)})\n{what}: {text}"


# Demonstrations that are chosen for each call.


def embedded_text(prompt: Any, inputs: Any) -> str:
    """The text of a call's inputs whose embedding chooses demonstrations."""
    return _text(prompt, prompt.complete("inputs", inputs))


def _text(prompt: Any, values: Any) -> str:
    given = {name: _without_media(value) for name, value in values.items()}
    fields = [(field, given[name]) for name, field in prompt.doc["inputs"].items()]
    texts = [READER.spell(field, value) for field, value in fields if value or not field["parts"]]
    return " ".join(texts)


def _nearest(prompt: Any, values: Any, vector: Any) -> Any:
    """The turns of the demonstrations whose inputs are nearest to these; nearest last."""
    pool = prompt.doc["pool"]
    demos = pool["demos"]
    if pool["vectors"] is None:
        scores = _word_scores(pool, _text(prompt, values))
    elif vector is None:
        raise ValueError(f"give the vector of embedded_text(prompt, inputs) by {pool['embedder']}")
    else:
        unit = _unit(vector)
        scores = [math.fsum(a * b for a, b in zip(row, unit)) for row in pool["vectors"]]
    asked = _key(values)
    open_ = [place for place, demo in enumerate(demos) if _key(demo["inputs"]) != asked]
    ranked = sorted(open_, key=lambda place: (-scores[place], place))
    chosen = _balanced(ranked, pool["k"], [demo["label"] for demo in demos])
    return [turn for place in reversed(chosen) for turn in demos[place]["messages"]]


def _word_scores(pool: Any, text: str) -> list[float]:
    """Okapi BM25, of which the index has each word's share, in steps of a millionth."""
    scores = [0.0] * len(pool["demos"])
    for word in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        for place, share in pool["index"].get(word, ()):
            scores[place] += share
    return [round(score * 1e6) for score in scores]


def _unit(vector: Any) -> Any:
    """A vector of unit length in half floats; one of half floats is taken as it is."""
    if list(vector) != _halves(vector):
        largest = max(map(abs, vector)) or 1.0
        scaled = [number / largest for number in vector]
        length = math.sqrt(sum(number * number for number in scaled)) or 1.0
        vector = [number / length for number in scaled]
    return _halves(vector)


def _halves(vector: Any) -> list[float]:
    try:
        return list(struct.unpack(f"<{len(vector)}e", struct.pack(f"<{len(vector)}e", *vector)))
    except OverflowError:
        return []  # a number that no half float holds


def _without_media(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_media(item) for item in value]
    if not isinstance(value, dict):
        return value
    return None if _is_medium(value) else {k: _without_media(item) for k, item in value.items()}


def _balanced(ranked: Any, k: int, labels: Any) -> Any:
    """Choose at most k / number of labels of each label first, then the nearest of the others."""
    if None in labels:
        return ranked[:k]
    most, taken, passed = -(-k // len(set(labels))), list[int](), list[int]()
    for place in ranked:
        same = sum(labels[other] == labels[place] for other in taken)
        (taken if same < most and len(taken) < k else passed).append(place)
    chosen = {*taken, *passed[: k - len(taken)]}
    return [place for place in ranked if place in chosen]

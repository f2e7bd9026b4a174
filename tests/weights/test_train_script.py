"""The training script's own decisions; what its libraries do is tested with the real ones."""

from __future__ import annotations

import errno
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from helpers.training import dpo_rows, sft_rows

from lmpipe.weights import train_script
from lmpipe.weights.settings import TrainingSettings


class Tokenizer:
    """One token a character; turns as `<role:content>`, and an end token that is special."""

    all_special_ids = (ord(">"),)
    eos_token_id = ord(">")

    def __init__(self, *, end: str = ">", rewrite: bool = False) -> None:
        self._end, self._rewrite = end, rewrite

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        assert tokenize is False
        assert turns[0]["content"] != "refused"
        begin = "[answered]" if self._rewrite and turns[-1]["role"] == "assistant" else ""
        text = begin + "".join(f"<{t['role']}:{t['content']}{self._end}" for t in turns)
        return text + ("<assistant:" if add_generation_prompt else "")

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert add_special_tokens is False
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


def settings(**options: Any) -> dict[str, Any]:
    return TrainingSettings(**options).to_json()


def test_the_loss_is_of_the_completion_alone() -> None:
    rows = sft_rows(2)
    train_script.check_rows(rows, Tokenizer(), settings())
    example = train_script.completion(rows[1])
    learned = [token for token in example["labels"] if token != -100]
    assert Tokenizer().decode(learned) == "answer 1>"
    asked = Tokenizer().decode(example["input_ids"][: -len(learned)])
    assert asked == "<user:question 1><assistant:"


def test_a_preference_has_one_prompt_and_two_replies() -> None:
    rows = dpo_rows(1)
    train_script.check_rows(rows, Tokenizer(), settings(method="dpo"))
    texts = {k: Tokenizer().decode(v) for k, v in train_script.preference(rows[0]).items()}
    assert texts == {
        "prompt_ids": "<user:question 0><assistant:",
        "chosen_ids": "answer 0>",
        "rejected_ids": "no idea>",
    }


def test_an_end_token_is_learned_where_the_template_writes_none() -> None:
    rows = sft_rows(1)
    train_script.check_rows(rows, Tokenizer(end="|"), settings())
    assert train_script.completion(rows[0])["labels"][-1] == Tokenizer.eos_token_id


def test_a_row_that_is_too_long_is_named_with_its_length_and_the_remedy() -> None:
    rows = sft_rows(4)
    rows[1]["completion"][0]["content"] = "long " * 20
    rows[3]["completion"][0]["content"] = "long " * 30
    with pytest.raises(train_script.Failure) as caught:
        train_script.check_rows(rows, Tokenizer(), settings(max_length=64))
    said = str(caught.value)
    assert said.startswith("row 2 has 129 tokens, and max_length is 64 (and 1 more, up to 179")
    assert "set max_length=179" in said


def test_a_template_that_rewrites_earlier_turns_is_an_error_that_names_the_row() -> None:
    with pytest.raises(train_script.Failure, match=r"row 1: .*writes a prompt differently"):
        train_script.check_rows(sft_rows(1), Tokenizer(rewrite=True), settings())


def test_a_row_that_the_template_refuses_is_named() -> None:
    rows = sft_rows(2)
    rows[1]["prompt"][0]["content"] = "refused"
    with pytest.raises(train_script.Failure, match="row 2: the model's chat template refuses it"):
        train_script.check_rows(rows, Tokenizer(), settings())


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_the_newest_checkpoint_that_is_whole_is_gone_on_from(tmp_path: Path) -> None:
    assert train_script.last_checkpoint(str(tmp_path / "none")) is None
    checkpoint(tmp_path, 8, json.dumps({"global_step": 8}))
    whole = checkpoint(tmp_path, 10, json.dumps({"global_step": 10}))
    checkpoint(tmp_path, 12, '{"global_st')
    checkpoint(tmp_path, 14, None)
    (tmp_path / "checkpoint-tmp").mkdir()
    assert train_script.last_checkpoint(str(tmp_path)) == str(whole)


def test_the_time_up_to_a_checkpoint_counts(tmp_path: Path) -> None:
    assert train_script.seconds_before(None) == 0.0
    assert train_script.seconds_before(str(tmp_path)) == 0.0
    train_script.write_json(str(tmp_path / "seconds.json"), 12.5)
    assert train_script.seconds_before(str(tmp_path)) == 12.5


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("saving failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (wrapped(OSError(errno.EDQUOT, "Disk quota exceeded")), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (MemoryError(), "out of memory: lower batch (now 4)"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out of memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "out of memory"),
        (OSError(errno.EACCES, "Permission denied"), "PermissionError: [Errno 13]"),
        (KeyError("lm_head"), "KeyError: 'lm_head'"),
    ],
)
def test_errors_of_the_libraries_in_words(tmp_path: Path, error: Exception, said: str) -> None:
    job = {"work": str(tmp_path), "settings": settings(batch=4)}
    assert train_script.in_words(error, job).startswith(said)


class Told(list[dict[str, Any]]):
    """In the place of the channel to the parent."""

    def tell(self, event: str, **fields: Any) -> None:
        self.append({"event": event, **fields})


@pytest.fixture
def reporter(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Told]:
    """The callback, and what it has told."""
    stand_in = types.ModuleType("transformers")
    stand_in.TrainerCallback = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    told: Any = Told()
    return train_script.make_reporter(told, None, 1.0)(), told


STATE = types.SimpleNamespace(global_step=0, max_steps=10)
ARGUMENTS = types.SimpleNamespace(learning_rate=5e-4)


def test_each_step_is_told_with_the_last_losses_and_what_is_left(reporter: Any) -> None:
    callback, told = reporter
    state = types.SimpleNamespace(global_step=4, max_steps=10)
    callback.on_train_begin(ARGUMENTS, state, None)
    callback.on_log(ARGUMENTS, state, None, logs={"eval_loss": 3.0})
    state.global_step = 5
    callback.on_log(ARGUMENTS, state, None, logs={"loss": 2.0})
    callback.on_log(ARGUMENTS, state, None, logs={"train_runtime": 9.0})
    started, first, second = told
    assert started == {"event": "started", "step": 4, "steps": 10}
    assert (first["loss"], first["held_out_loss"], first["seconds_left"]) == (None, 3.0, None)
    assert (second["step"], second["loss"], second["held_out_loss"]) == (5, 2.0, 3.0)
    assert second["seconds_left"] >= 0.0


@pytest.mark.parametrize("key", ["loss", "eval_loss"])
@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(reporter: Any, key: str, loss: float) -> None:
    callback, _ = reporter
    with pytest.raises(train_script.Failure, match=r"at step 0: lower learning_rate \(now 0\.0005"):
        callback.on_log(ARGUMENTS, STATE, None, logs={key: loss})

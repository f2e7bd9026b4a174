"""Checkpoints and progress events; the libraries' part is tested with the real ones."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lmpipe.weights.train_process.failures import Failure
from lmpipe.weights.train_process.training import (
    last_checkpoint,
    make_reporter,
    seconds_before,
    write_json,
)


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_the_newest_complete_checkpoint_is_used(tmp_path: Path) -> None:
    assert last_checkpoint(str(tmp_path / "none")) is None
    checkpoint(tmp_path, 8, json.dumps({"global_step": 8}))
    complete = checkpoint(tmp_path, 10, json.dumps({"global_step": 10}))
    checkpoint(tmp_path, 12, '{"global_st')
    checkpoint(tmp_path, 14, None)
    (tmp_path / "checkpoint-tmp").mkdir()
    assert last_checkpoint(str(tmp_path)) == str(complete)


def test_the_time_before_a_checkpoint_counts(tmp_path: Path) -> None:
    assert seconds_before(None) == 0.0
    assert seconds_before(str(tmp_path)) == 0.0
    write_json(str(tmp_path / "seconds.json"), 12.5)
    assert seconds_before(str(tmp_path)) == 12.5


class Events(list[dict[str, Any]]):
    """A channel that keeps its events."""

    def send(self, event: str, **fields: Any) -> None:
        self.append({"event": event, **fields})


@pytest.fixture
def reporter(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Events]:
    """The callback, and the events that it sends."""
    transformers = types.ModuleType("transformers")
    transformers.TrainerCallback = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    events = Events()
    return make_reporter(events, 1.0)(), events


STATE = types.SimpleNamespace(global_step=0, max_steps=10)
ARGUMENTS = types.SimpleNamespace(learning_rate=5e-4)


def test_each_step_is_an_event_with_the_last_losses_and_the_time_left(reporter: Any) -> None:
    callback, events = reporter
    state = types.SimpleNamespace(global_step=4, max_steps=10)
    callback.on_train_begin(ARGUMENTS, state, None)
    callback.on_log(ARGUMENTS, state, None, logs={"eval_loss": 3.0})
    state.global_step = 5
    callback.on_log(ARGUMENTS, state, None, logs={"loss": 2.0})
    callback.on_log(ARGUMENTS, state, None, logs={"train_runtime": 9.0})
    started, first, second = events
    assert started == {"event": "started", "step": 4, "steps": 10}
    assert (first["loss"], first["held_out_loss"], first["seconds_left"]) == (None, 3.0, None)
    assert (second["step"], second["loss"], second["held_out_loss"]) == (5, 2.0, 3.0)
    assert second["seconds_left"] >= 0.0


@pytest.mark.parametrize("key", ["loss", "eval_loss"])
@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training(reporter: Any, key: str, loss: float) -> None:
    callback, _ = reporter
    with pytest.raises(Failure, match=r"at step 0: lower learning_rate \(now 0\.0005"):
        callback.on_log(ARGUMENTS, STATE, None, logs={key: loss})

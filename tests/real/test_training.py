"""Real training of the embedded model's weights with TRL and PEFT, a few steps each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest
from helpers.training import write_rows

from lmpipe.errors import TrainingError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.weights.adapter import check_for_vllm, read_adapter
from lmpipe.weights.base_model import default_base_model
from lmpipe.weights.environment import training_environment
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.model_folder import check_model_folder, model_hash
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import TrainingJob, TrainingProgress, TrainingResult

pytestmark = pytest.mark.real

TEAMS = {
    "refund": "billing",
    "invoice": "billing",
    "parcel": "shipping",
    "courier": "shipping",
    "crash": "technical",
    "password": "technical",
}

# Replies to a chat with a model's folder, and prints the prompt's tokens and the reply.
REPLY = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, turns = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer.apply_chat_template(
    turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
length = prompt["input_ids"].shape[1]
model = AutoModelForCausalLM.from_pretrained(folder)
reply = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, length:]
print(json.dumps([length, tokenizer.decode(reply, skip_special_tokens=True)]))
"""


@pytest.fixture
def base(weights_home: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMPIPE_HOME", weights_home)
    try:
        training_environment()
    except TrainingError as error:
        pytest.skip(str(error))
    return default_base_model()


def rows(count: int) -> list[dict[str, Any]]:
    words = list(TEAMS)
    return [
        {
            "prompt": [
                {"role": "system", "content": "Which team answers?"},
                {"role": "user", "content": f"Ticket {i}: the {words[i % len(words)]}"},
            ],
            "completion": [{"role": "assistant", "content": TEAMS[words[i % len(words)]]}],
        }
        for i in range(count)
    ]


def job(base: Path, folder: Path, count: int, **settings: Any) -> TrainingJob:
    path = write_rows(folder / "rows.jsonl", rows(count))
    return TrainingJob(str(base), path, TrainingSettings(**settings), folder / "weights")


def train(job: TrainingJob, on_progress: Any = None) -> TrainingResult:
    return asyncio.run(LocalTrainer().train(job, on_progress))


def test_the_base_model_replies_like_the_embedded_lm(base: Path) -> None:
    turns = (Message("system", "Be brief."), Message("user", "What is the capital of France?"))
    python, text = (
        str(training_environment().python),
        json.dumps([turn.to_json() for turn in turns]),
    )
    done = subprocess.run(
        [python, "-c", REPLY, str(base), text], capture_output=True, text=True, check=True
    )
    runtime = Runtime()
    lm = LM("local", max_tokens=8, context=512)
    reply = asyncio.run(runtime.acomplete(Request(lm, turns)))
    runtime.close()
    assert json.loads(done.stdout) == [reply.usage.prompt_tokens, reply.text]


def test_an_adapter_learns_and_a_killed_training_resumes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Process] = []
    start = asyncio.create_subprocess_exec

    async def start_and_note(*command: str, **options: Any) -> Process:
        started.append(await start(*command, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_note)
    wanted = job(base, tmp_path, 24, epochs=2.0, checkpoint_steps=2)

    def kill_in_step_3(progress: TrainingProgress) -> None:
        if progress.step == 3:
            os.kill(started[-1].pid, signal.SIGKILL)

    with pytest.raises(TrainingError, match="SIGKILL"):
        train(wanted, kill_in_step_3)
    assert not wanted.folder.exists()

    progress: list[TrainingProgress] = []
    trained = train(wanted, progress.append)
    assert (progress[0].step, progress[0].steps) == (2, 6)
    assert [step for step, _ in trained.curve] == [1, 2, 3, 4, 5, 6]
    assert trained.curve[-1][1] < 0.7 * trained.curve[0][1]
    assert [step for step, _ in trained.held_out] == [0, 2, 4, 6]
    assert trained.held_out[-1][1] < trained.held_out[0][1]
    assert trained.base["revision"] == f"sha256:{model_hash(base)}"

    adapter = read_adapter(trained.folder)
    assert adapter.hash == trained.hash
    assert adapter.rank == 16
    assert {"q_proj", "v_proj", "down_proj"} <= set(adapter.targets)
    assert "lm_head" not in adapter.targets
    check_for_vllm(adapter, 16)
    names = {"adapter_config.json", "adapter_model.safetensors", "training.json", "training.log"}
    assert {item.name for item in trained.folder.iterdir()} == names


def test_a_row_that_is_too_long_is_found_before_the_first_step(base: Path, tmp_path: Path) -> None:
    progress: list[TrainingProgress] = []
    with pytest.raises(TrainingError, match=r"row \d+ has \d+ tokens, and max_length is 16"):
        train(job(base, tmp_path, 2, max_length=16), progress.append)
    assert progress == []


def test_full_weights_make_a_model_folder(base: Path, tmp_path: Path) -> None:
    trained = train(job(base, tmp_path, 8, full=True, epochs=1.0, batch=4, eval_fraction=0.0))
    check_model_folder(trained.folder)
    assert trained.hash == model_hash(trained.folder) != model_hash(base)
    config = json.loads((trained.folder / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    template = "chat_template.jinja"
    assert (trained.folder / template).read_text() == (base / template).read_text()
    size = (trained.folder / "model.safetensors").stat().st_size
    assert size == pytest.approx((base / "model.safetensors").stat().st_size, rel=0.01)


def test_preferences_are_learned(base: Path, tmp_path: Path) -> None:
    wanted = job(base, tmp_path, 8, method="dpo", epochs=2.0, batch=4, eval_fraction=0.0)
    pairs = [
        {
            "prompt": row["prompt"],
            "chosen": row["completion"],
            "rejected": [{"role": "assistant", "content": "I do not know."}],
        }
        for row in rows(8)
    ]
    write_rows(wanted.rows, pairs)
    trained = train(wanted)
    assert trained.curve[0][1] == pytest.approx(0.693, abs=0.01)  # no preference yet: log 2
    assert trained.curve[-1][1] < trained.curve[0][1] - 0.01
    assert read_adapter(trained.folder).rank == 16

"""The whole loop on a CPU: rollouts, rows, LoRA adapters, vLLM with these, and their scores.

Needs the environments of vLLM and of training: `make environments`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.run_weights import adapters_of
from lmpipe.errors import ConfigError, TrainingError
from lmpipe.lm.lm import LM
from lmpipe.serving.find import find_vllm
from lmpipe.settings import make_runtime, using
from lmpipe.weights.environment import training_environment

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, weights_home: str) -> lmpipe.Recipe:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LMPIPE_HOME", weights_home)
    try:
        find_vllm()
        training_environment()
    except (ConfigError, TrainingError) as error:
        pytest.skip(str(error).splitlines()[0])
    return load_recipe("programs/tickets_weights.py").replace(
        optimizer=lmpipe.BootstrapFinetune(training=lmpipe.TrainingSettings(epochs=2)),
        train_size=40,
        val_size=12,
        test_size=8,
        train_check=0,
    )


def test_full_weights_are_served_as_a_separate_model(tmp_path: Path, small: lmpipe.Recipe) -> None:
    training = lmpipe.TrainingSettings(full=True, epochs=1, eval_fraction=0.0)
    made = small.replace(
        optimizer=lmpipe.BootstrapFinetune(shared=True, training=training),
        train_size=16,
        val_size=6,
        test_size=4,
    )
    runtime = make_runtime(cache=tmp_path / "cache")
    with using(lm=LM("local"), runtime=runtime):
        run = lmpipe.compile(made, runs=tmp_path / "runs")
    (trained,) = [one for one in run.candidates if one.name == "all models"]
    (model,) = {item.lm for item in trained.state.predictors.values()}
    assert model is not None
    assert model.startswith("vllm/shared-")
    # A model that did not learn the format, or was not found, would fail every row.
    assert trained.score > 0.0
    runtime.close()


def test_weights_are_trained_served_and_measured(tmp_path: Path, small: lmpipe.Recipe) -> None:
    runtime = make_runtime(cache=tmp_path / "cache")
    with using(lm=LM("local"), runtime=runtime):
        run = lmpipe.compile(small, runs=tmp_path / "runs")
        again = lmpipe.compile(small, runs=tmp_path / "runs")
    trained = [one for one in run.candidates if adapters_of(one.state)]
    assert trained, "no candidate has weights"
    assert {path for one in trained for path in adapters_of(one.state)} == {"route", "details"}
    # An adapter that did not learn the format would fail every row.
    assert max(one.score for one in trained) > 0.0
    assert again.state == run.state
    assert again.account.total.fresh_calls == 0
    for path, adapter in adapters_of(run.state).items():
        assert (run.path / "weights" / path / "adapter_model.safetensors").is_file()
        assert adapter.base == "vllm/smollm2-135m"
    runtime.close()

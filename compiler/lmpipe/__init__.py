"""lmpipe: a compiler for declarative language-model pipelines.

Declare a pipeline as typed modules, compile it against a metric, ship the run folder.
Names are imported when they are first used, so that `import lmpipe` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmpipe import errors as errors
    from lmpipe import metrics as metrics
    from lmpipe.compiler import acompile as acompile
    from lmpipe.compiler import compile as compile
    from lmpipe.compiler import load as load
    from lmpipe.data import read_examples as read_examples
    from lmpipe.evaluation import aevaluate as aevaluate
    from lmpipe.evaluation import evaluate as evaluate
    from lmpipe.example import Example as Example
    from lmpipe.lm.lm import LM as LM
    from lmpipe.lm.lm import Limits as Limits
    from lmpipe.lm.scripted import ScriptedLM as ScriptedLM
    from lmpipe.metrics import Score as Score
    from lmpipe.modules.chain_of_thought import ChainOfThought as ChainOfThought
    from lmpipe.modules.function import predict as predict
    from lmpipe.modules.predict import Predict as Predict
    from lmpipe.optimize import COPRO as COPRO
    from lmpipe.optimize import GEPA as GEPA
    from lmpipe.optimize import SIMBA as SIMBA
    from lmpipe.optimize import BetterTogether as BetterTogether
    from lmpipe.optimize import BootstrapFewShot as BootstrapFewShot
    from lmpipe.optimize import BootstrapFinetune as BootstrapFinetune
    from lmpipe.optimize import Budget as Budget
    from lmpipe.optimize import Chain as Chain
    from lmpipe.optimize import Distill as Distill
    from lmpipe.optimize import Ensemble as Ensemble
    from lmpipe.optimize import InferRules as InferRules
    from lmpipe.optimize import KNNFewShot as KNNFewShot
    from lmpipe.optimize import LabeledFewShot as LabeledFewShot
    from lmpipe.optimize import LayoutSearch as LayoutSearch
    from lmpipe.optimize import MIPROv2 as MIPROv2
    from lmpipe.optimize import RandomSearch as RandomSearch
    from lmpipe.optimize import StudentPreferred as StudentPreferred
    from lmpipe.outcome import Evaluation as Evaluation
    from lmpipe.program import Module as Module
    from lmpipe.recipe import Recipe as Recipe
    from lmpipe.result import Run as Run
    from lmpipe.serving.spec import ServerSpec as ServerSpec
    from lmpipe.settings import configure as configure
    from lmpipe.settings import using as using
    from lmpipe.signature import Input as Input
    from lmpipe.signature import Output as Output
    from lmpipe.signature import Prediction as Prediction
    from lmpipe.signature import Signature as Signature
    from lmpipe.signature_string import signature_from_string as signature_from_string
    from lmpipe.source import Source as Source
    from lmpipe.state import Demo as Demo
    from lmpipe.state import PredictorState as PredictorState
    from lmpipe.state import ProgramState as ProgramState
    from lmpipe.state import Retrieval as Retrieval
    from lmpipe.state import Vectors as Vectors
    from lmpipe.streaming import Stream as Stream
    from lmpipe.trace import Partial as Partial
    from lmpipe.weights.hosted_trainer import HostedTrainer as HostedTrainer
    from lmpipe.weights.local_trainer import LocalTrainer as LocalTrainer
    from lmpipe.weights.settings import TrainingSettings as TrainingSettings

_HOMES = {
    "BetterTogether": "lmpipe.optimize",
    "BootstrapFewShot": "lmpipe.optimize",
    "BootstrapFinetune": "lmpipe.optimize",
    "Budget": "lmpipe.optimize",
    "COPRO": "lmpipe.optimize",
    "Chain": "lmpipe.optimize",
    "ChainOfThought": "lmpipe.modules.chain_of_thought",
    "Demo": "lmpipe.state",
    "Distill": "lmpipe.optimize",
    "Ensemble": "lmpipe.optimize",
    "Evaluation": "lmpipe.outcome",
    "Example": "lmpipe.example",
    "GEPA": "lmpipe.optimize",
    "HostedTrainer": "lmpipe.weights.hosted_trainer",
    "InferRules": "lmpipe.optimize",
    "Input": "lmpipe.signature",
    "KNNFewShot": "lmpipe.optimize",
    "LM": "lmpipe.lm.lm",
    "LabeledFewShot": "lmpipe.optimize",
    "LayoutSearch": "lmpipe.optimize",
    "Limits": "lmpipe.lm.lm",
    "LocalTrainer": "lmpipe.weights.local_trainer",
    "MIPROv2": "lmpipe.optimize",
    "Module": "lmpipe.program",
    "Output": "lmpipe.signature",
    "Partial": "lmpipe.trace",
    "Predict": "lmpipe.modules.predict",
    "Prediction": "lmpipe.signature",
    "PredictorState": "lmpipe.state",
    "ProgramState": "lmpipe.state",
    "RandomSearch": "lmpipe.optimize",
    "Recipe": "lmpipe.recipe",
    "Retrieval": "lmpipe.state",
    "Run": "lmpipe.result",
    "SIMBA": "lmpipe.optimize",
    "Score": "lmpipe.metrics",
    "ScriptedLM": "lmpipe.lm.scripted",
    "ServerSpec": "lmpipe.serving.spec",
    "Signature": "lmpipe.signature",
    "Source": "lmpipe.source",
    "Stream": "lmpipe.streaming",
    "StudentPreferred": "lmpipe.optimize",
    "TrainingSettings": "lmpipe.weights.settings",
    "Vectors": "lmpipe.state",
    "acompile": "lmpipe.compiler",
    "aevaluate": "lmpipe.evaluation",
    "compile": "lmpipe.compiler",
    "configure": "lmpipe.settings",
    "evaluate": "lmpipe.evaluation",
    "load": "lmpipe.compiler",
    "predict": "lmpipe.modules.function",
    "read_examples": "lmpipe.data",
    "signature_from_string": "lmpipe.signature_string",
    "using": "lmpipe.settings",
}
_ROOMS = ("errors", "metrics")

__all__ = [*_HOMES, *_ROOMS, "__version__"]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"lmpipe.{name}")
    else:
        raise AttributeError(f"module 'lmpipe' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""Modules: the steps of a pipeline."""

from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.ensemble import Ensemble
from lmpipe.modules.function import PredictFunction, predict
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict

__all__ = ["ChainOfThought", "Ensemble", "Module", "Predict", "PredictFunction", "predict"]

"""MIPROv2, whose search is Optuna's."""

import optuna
from search import compile_with

assert optuna.samplers.TPESampler
compile_with("mipro")

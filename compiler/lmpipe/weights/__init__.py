"""Weights: training settings, trainers, adapters, and the base model to try them on."""

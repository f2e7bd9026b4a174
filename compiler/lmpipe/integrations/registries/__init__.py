"""Registries of prompts: each predictor's prompt of a run, with the run's scores."""

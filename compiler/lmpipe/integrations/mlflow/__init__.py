"""Compiles as runs of MLflow, over its REST API: its package is not needed."""

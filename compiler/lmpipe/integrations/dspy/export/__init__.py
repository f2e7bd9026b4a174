"""`lmpipe export --format dspy`: what was learned as DSPy's files, compared with what it asks."""

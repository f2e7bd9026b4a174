"""Judges: metrics that ask an LM, and how well they agree with people."""

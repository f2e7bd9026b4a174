"""Compiled prompts as files that need no framework, with proof that they are the same."""

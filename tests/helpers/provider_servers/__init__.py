"""Local servers with the APIs of hosted providers, which refuse what the real ones refuse.

Each rule names its source: the provider's documentation, or a public issue that quotes the error.
The servers answer by content (`model.py`): they read which outputs a prompt asks for, and write
them in the form that it asks for, so that whole compiles run on them.
"""

"""Search: a corpus of passages, and the retrievers that find the best ones for a query."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Search: a corpus of passages, and the retrievers that find the best ones for a query."""

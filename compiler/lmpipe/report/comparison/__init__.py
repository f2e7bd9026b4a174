"""Runs side by side: what they learned, what they were made of, and scores on the same examples."""

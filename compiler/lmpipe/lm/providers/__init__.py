"""Providers: the last step of the road, one file for each way to reach an LM."""

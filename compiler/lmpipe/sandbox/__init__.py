"""Where code that an LM writes runs: without files, network and environment, within limits."""

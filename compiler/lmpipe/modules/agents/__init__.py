"""Agents: modules that call tools in a loop until they have the answer."""

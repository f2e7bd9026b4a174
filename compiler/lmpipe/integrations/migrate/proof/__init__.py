"""Prove that a migrated file asks for the same: run both on one example, and compare."""

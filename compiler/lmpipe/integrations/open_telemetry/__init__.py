"""Traces and metrics of OpenTelemetry, with its conventions for generative AI."""

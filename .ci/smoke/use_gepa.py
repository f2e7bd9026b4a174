"""GEPA, by the gepa package."""

import gepa
from search import compile_with

assert gepa.optimize
compile_with("gepa")

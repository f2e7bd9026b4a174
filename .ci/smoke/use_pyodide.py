"""Deno, in which Pyodide runs; Pyodide itself comes from npm."""

import subprocess

import deno

import lmpipe

assert lmpipe.PyodideSandbox()
done = subprocess.run(
    [deno.find_deno_bin(), "--version"], capture_output=True, text=True, check=True
)
assert done.stdout.startswith("deno 2"), done.stdout

"""A program over HTTP: `lmpipe serve`, asked for its state, its description and an answer."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

PROGRAM = """
import lmpipe
from lmpipe.metrics import exact_match
rows = [lmpipe.Example(thing=f"leaf {n}", colour="green").with_inputs("thing") for n in range(9)]
recipe = lmpipe.Recipe(
    program=lmpipe.Predict("thing -> colour"),
    train=rows,
    metric=exact_match("colour"),
    student=lmpipe.ScriptedLM(lambda request: "[[colour]]\\ngreen"),
)
"""
Path("colours.py").write_text(PROGRAM)
command = [sys.executable, "-m", "lmpipe", "serve", "colours.py", "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
    try:
        assert server.stdout
        url = next(line.strip() for line in server.stdout if line.strip().startswith("http"))
        url = url.removesuffix("/docs")
        request = urllib.request.Request(
            f"{url}/v1/programs/colours",
            data=b'{"thing": "leaf"}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer) == {"colour": "green"}
        with urllib.request.urlopen(f"{url}/openapi.json") as document:
            assert "/v1/programs/colours" in json.load(document)["paths"]
    finally:
        server.terminate()

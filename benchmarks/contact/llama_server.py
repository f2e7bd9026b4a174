"""llama.cpp's HTTP server on one GGUF file, as a process: `python -m contact.llama_server FILE`.

Its first line of output is the address, up to `/v1`. It ends when its input is closed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import xllamacpp

CONTEXT = 4096  # tokens of each slot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--slots", type=int, default=4)
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = str(options.file)
    params.model_alias = {options.name}
    params.n_parallel = options.slots
    params.n_ctx = CONTEXT * options.slots
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""Run the exported Python reader in a process of its own: `run_jobs.py FOLDER`, jobs as JSON.

It is not exported.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    reader: Any = importlib.import_module("prompt_reader")
    prompts: dict[str, Any] = {}
    results: list[Any] = []
    for job in json.load(sys.stdin):
        file = job["file"]
        if file not in prompts:
            text = Path(folder, file).read_text(encoding="utf-8")
            prompts[file] = reader.Prompt(json.loads(text))
        try:
            if "inputs" in job:
                results.append([prompts[file].messages(job["inputs"], job["vector"])])
            else:
                results.append([prompts[file].parse(job["reply"])])
        except (ValueError, LookupError, TypeError) as error:
            results.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(results, sys.stdout)


main(sys.argv[1])

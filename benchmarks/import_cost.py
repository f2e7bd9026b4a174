"""What `import lmpipe` costs beside `import pydantic`: medians of alternating fresh processes.

python benchmarks/import_cost.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

PROBE = """
import resource, sys, time
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(sys.modules))
"""
SUBJECTS = {
    "import pydantic": "import pydantic",
    "import lmpipe": "import lmpipe",
    "lmpipe, ready to declare": "import lmpipe; lmpipe.Signature, lmpipe.Predict, lmpipe.Module",
}


def probe(code: str) -> tuple[float, float, int]:
    """Seconds, resident MB and modules of one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], capture_output=True, text=True, check=True
    )
    seconds, megabytes, modules = done.stdout.split()
    return float(seconds), float(megabytes), int(modules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in SUBJECTS}
    for _ in range(options.rounds):
        for name, code in SUBJECTS.items():
            runs[name].append(probe(code))
    base = statistics.median(run[0] for run in runs["import pydantic"])
    table = {
        name: {
            "ms": 1000 * statistics.median(run[0] for run in rows),
            "ratio": statistics.median(run[0] for run in rows) / base,
            "resident_mb": statistics.median(run[1] for run in rows),
            "modules": rows[0][2],
        }
        for name, rows in runs.items()
    }
    print(f"{'':26} {'ms':>8} {'ratio':>7} {'MB':>7} {'modules':>8}")
    for name, row in table.items():
        print(
            f"{name:26} {row['ms']:8.1f} {row['ratio']:7.2f} {row['resident_mb']:7.1f} "
            f"{row['modules']:8}"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

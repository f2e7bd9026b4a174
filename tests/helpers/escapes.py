"""Attempts to leave a sandbox, or to use up what its host has; docs/sandbox.md lists them.

`python tests/helpers/escapes.py` prints the table of the docs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

# What an attempt comes to. `refused` is an error of the code, `harmless` no error: the code gets
# something of the sandbox and nothing of the host. The others are limits.
REFUSED, HARMLESS, TIME, MEMORY, OUTPUT, CALLS = (
    "refused",
    "harmless",
    "time limit",
    "memory limit",
    "output limit",
    "limit of calls",
)


@dataclass(frozen=True)
class Attempt:
    """Hostile code, and what it comes to in each sandbox.

    In the code, `SECRET` is a path of the host that holds a secret, and `TARGET` one where there
    is no file; `host` is a function of the host.
    """

    name: str
    code: str
    monty: str = REFUSED
    pyodide: str = REFUSED


_JS = "import pyodide_js\nrun = pyodide_js.registerJsModule.constructor\n"

ATTEMPTS = (
    Attempt("read a file", "open(SECRET).read()"),
    Attempt("read a file by pathlib", "import pathlib\npathlib.Path(SECRET).read_text()"),
    Attempt("write a file", "open(TARGET, 'w').write('x')"),
    Attempt("list a folder", "import os\nos.listdir(SECRET.rpartition('/')[0])"),
    Attempt(
        "read the environment",
        "import os\nstr(os.environ) + str(os.getenv('LMPIPE_TEST_SECRET'))",
        pyodide=HARMLESS,
    ),
    Attempt("start a process", "import subprocess\nsubprocess.check_output(['cat', SECRET])"),
    Attempt(
        "run a shell command",
        "import os\nassert os.system('cat ' + SECRET) == 0",
    ),
    Attempt("fork until nothing is left", "import os\nwhile True:\n    os.fork()"),
    Attempt(
        "start threads without end", "import threading\nthreading.Thread(target=print).start()"
    ),
    Attempt(
        "open a socket",
        "import socket\nsocket.create_connection(('127.0.0.1', PORT), timeout=1)",
    ),
    Attempt(
        "ask a web server",
        "import urllib.request\nurllib.request.urlopen(f'http://127.0.0.1:{PORT}/', timeout=1)",
    ),
    Attempt(
        "call the system's C library",
        "import ctypes\nctypes.CDLL(None).system(b'touch ' + TARGET.encode())",
    ),
    Attempt(
        "walk from a tuple to all classes",
        "found = ().__class__.__base__.__subclasses__()\n"
        "[c for c in found if c.__name__ == 'Popen'][0](['touch', TARGET])",
    ),
    Attempt(
        "walk the frames of a generator",
        "def walk():\n    yield g.gi_frame.f_back.f_back\n"
        "g = walk()\nframe = next(g)\nwhile frame:\n    frame = frame.f_back\n"
        "open(SECRET).read()",
    ),
    Attempt(
        "walk the frames of an exception",
        "try:\n    1 / 0\nexcept Exception as e:\n    frame = e.__traceback__.tb_frame\n"
        "while frame.f_back:\n    frame = frame.f_back\n"
        "frame.f_globals['__builtins__'].open(SECRET).read()",
    ),
    Attempt("import by its name", "__import__('os').popen('cat ' + SECRET).read()"),
    Attempt(
        "import by machinery",
        "import importlib\nimportlib.import_module('_posixsubprocess').__name__",
        pyodide=HARMLESS,
    ),
    Attempt("evaluate a text", 'eval("open(SECRET).read()")'),
    Attempt("execute a text", "exec(\"import os\\nos.popen('cat ' + SECRET).read()\")"),
    Attempt("take the globals of a host function", "host.__globals__['os'].environ"),
    Attempt("take the closure of a host function", "host.__closure__[0].cell_contents.environ"),
    Attempt("call a host function that is not given", "open_file(SECRET)"),
    Attempt(
        "unpickle a command",
        "import pickle\n"
        "r = pickle.loads(b\"cos\\nsystem\\n(S'touch '\\ntR.\")\nassert r == 0\nopen(SECRET)",
    ),
    Attempt(
        "replace builtins",
        "import builtins\nbuiltins.len = builtins.isinstance = builtins.print = None\n"
        "builtins.open(SECRET)",
    ),
    Attempt(
        "raise an exception that hangs when it is shown",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E()",
        pyodide=TIME,
    ),
    Attempt(
        "forge a result on the standard output",
        "import sys\nout = sys.__stdout__\nout.write('{\"run\": 1}\\n')\nout.flush()\n"
        "open(SECRET).read()",
    ),
    Attempt("read the standard input", "import sys\nassert sys.stdin.read(1)"),
    Attempt(
        "read a file by JavaScript",
        _JS + "run(f'return Deno.readTextFileSync(\"{SECRET}\")')()",
    ),
    Attempt(
        "start a process by JavaScript",
        _JS + 'run(f\'return new Deno.Command("touch", {{args: ["{TARGET}"]}}).outputSync()\')()',
    ),
    Attempt(
        "take all memory by JavaScript",
        _JS + "run('const a = []; for (;;) { a.push(new Uint8Array(1e8).fill(1)); }')()",
    ),
    Attempt("loop without end", "while True:\n    pass", monty=TIME, pyodide=TIME),
    Attempt(
        "loop without end and catch every exception",
        "while True:\n    try:\n        while True:\n            pass\n"
        "    except BaseException:\n        pass",
        monty=TIME,
        pyodide=TIME,
    ),
    Attempt("ask for 10 GB", "x = 'a' * 10_000_000_000", monty=MEMORY, pyodide=REFUSED),
    Attempt(
        "take memory piece by piece",
        "x = []\nwhile True:\n    x.append('a' * 10_000_000 + str(len(x)))",
        monty=MEMORY,
        pyodide=MEMORY,
    ),
    Attempt("recurse without end", "def f(n):\n    return f(n + 1)\nf(0)"),
    Attempt(
        "print without end",
        "while True:\n    print('x' * 1000)",
        monty=TIME,
        pyodide=TIME,
    ),
    Attempt("print 10 MB", "for _ in range(100):\n    print('x' * 100_000)", OUTPUT, OUTPUT),
    Attempt("return 10 MB", "'x' * 10_000_000", OUTPUT, OUTPUT),
    Attempt("compute a huge power", "x = 9 ** 9 ** 9", monty=MEMORY, pyodide=TIME),
    Attempt("give the host a huge integer", "host(2 ** 10_000_000)"),
    Attempt(
        "match a catastrophic pattern",
        "import re\nre.match(r'(x+x+)+y', 'x' * 40)",
        monty=HARMLESS,
        pyodide=TIME,
    ),
    Attempt(
        "sleep for ever",
        "import time\nfor _ in range(1000):\n    time.sleep(3600)",
        monty=HARMLESS,
        pyodide=TIME,
    ),
    Attempt("call host functions without end", "while True:\n    host(1)", CALLS, CALLS),
    Attempt(
        "return a deeply nested value",
        "x = []\nfor _ in range(100_000):\n    x = [x]\nx",
        monty=HARMLESS,
    ),
)


def table() -> str:
    """The table of the docs."""
    return "\n".join(_rows())


def _rows() -> Iterator[str]:
    yield "| | attempt | Monty | Pyodide |"
    yield "|---|---|---|---|"
    for number, attempt in enumerate(ATTEMPTS, start=1):
        yield f"| {number} | {attempt.name} | {attempt.monty} | {attempt.pyodide} |"


if __name__ == "__main__":
    sys.stdout.write(table())

"""The readers are short, need nothing, and run where no package is installed."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from lmpipe.integrations.export.parity import READERS
from lmpipe.retrieval.word_index import words_in

DENO = shutil.which("deno", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")


@pytest.mark.parametrize(("name", "most"), [("prompt_reader.py", 120), ("prompt_reader.mjs", 150)])
def test_a_reader_is_short(name: str, most: int) -> None:
    assert len((READERS / name).read_text().splitlines()) < most


@pytest.mark.parametrize("name", ["prompt_reader.py", "prompt_extras.py"])
def test_a_reader_in_python_imports_the_standard_library_alone(name: str) -> None:
    tree = ast.parse((READERS / name).read_text(), feature_version=(3, 9))
    found = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found <= sys.stdlib_module_names


@needs_node
@pytest.mark.parametrize("name", ["prompt_reader.mjs", "prompt_extras.mjs"])
def test_a_reader_in_javascript_imports_nothing_but_node(name: str) -> None:
    lines = [line for line in (READERS / name).read_text().splitlines() if " from " in line]
    sources = {line.rpartition(" from ")[2] for line in lines if line.startswith("import")}
    beside = {'"./prompt_reader.mjs";', '"./prompt_extras.mjs";'}
    assert all(source.startswith('"node:') for source in sources - beside)


@needs_node
def test_words_are_the_same_in_javascript_for_every_letter(tmp_path: Path) -> None:
    letters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    # JavaScript may know letters of a later Unicode.
    known = [f"a{x}b" for x in letters if unicodedata.category(x) != "Cn"]
    texts = [" ".join(known[start : start + 100]) for start in range(0, len(known), 100)]
    script = (
        f"import {{ wordsIn }} from {json.dumps((READERS / 'prompt_extras.mjs').as_uri())};\n"
        'import { readFileSync } from "node:fs";\n'
        'const texts = JSON.parse(readFileSync(0, "utf8"));\n'
        "process.stdout.write(JSON.stringify(texts.map(wordsIn)));\n"
    )
    (tmp_path / "words.mjs").write_text(script)
    done = subprocess.run(
        ["node", str(tmp_path / "words.mjs")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    wrong = [text for text, words in zip(texts, found, strict=True) if words != words_in(text)]
    assert wrong == []


@pytest.mark.skipif(DENO is None, reason="needs Deno")
def test_typescript_knows_the_types_of_the_reader(tmp_path: Path) -> None:
    for file in (*READERS.glob("prompt_*.mjs"), *READERS.glob("prompt_*.d.mts")):
        shutil.copyfile(file, tmp_path / file.name)
    (tmp_path / "use.mts").write_text(
        '// @ts-types="./prompt_reader.d.mts"\n'
        'import { Prompt } from "./prompt_reader.mjs";\n'
        '// @ts-types="./prompt_extras.d.mts"\n'
        'import { embeddedText } from "./prompt_extras.mjs";\n'
        "const prompt = new Prompt({});\n"
        'const text: string = prompt.messages({ message: "x" })[0].role;\n'
        "// @ts-expect-error a message has no such part\n"
        "prompt.messages({})[0].colour;\n"
        "console.log(text, embeddedText(prompt, {}), prompt.parse('x').team);\n"
    )
    done = subprocess.run(
        [str(DENO), "check", str(tmp_path / "use.mts")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

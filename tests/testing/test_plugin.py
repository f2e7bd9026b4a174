"""The pytest plugin, in small projects like those of users."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

from lmpipe.lm.cassettes.cassette import MODES
from lmpipe.testing import plugin

Run = Callable[..., pytest.RunResult]

ASK = """
import os
import lmpipe
import pytest

def lm():
    return lmpipe.LM("vllm/fake", base_url=os.environ["URL"])

def ask(question, **settings):
    return lmpipe.Predict("question -> answer", lm=lm(), **settings)(question=question).answer
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    def count(body: dict[str, Any]) -> str:
        question = body["messages"][-1]["content"].partition("\n\nReply with")[0]
        return f"[[answer]]\n{len(question)} letters"

    server = FakeServer(count)
    with server:
        monkeypatch.setenv("URL", server.base_url)
        yield server


@pytest.fixture
def project(pytester: pytest.Pytester, server: FakeServer) -> pytest.Pytester:
    pytester.makepyfile(asking=ASK)
    pytester.makepyfile(
        test_ask="""
        from asking import *

        @pytest.mark.cassette
        def test_one():
            assert ask("Who?") == "17 letters"
        """
    )
    return pytester


MORE = '\n    ask("When?")\n'


def recorded(project: pytest.Pytester, name: str = "test_ask/test_one") -> Path:
    return project.path / "cassettes" / f"{name}.jsonl"


def test_the_plugin_has_the_modes_of_cassettes() -> None:
    assert plugin._MODES == MODES


def test_a_run_without_cassettes_imports_only_the_plugin(
    pytester: pytest.Pytester, run_apart: Run
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_one():
            assert "pydantic" not in sys.modules
            loaded = {name for name in sys.modules if name.startswith("lmpipe")}
            assert loaded == {"lmpipe", "lmpipe.testing", "lmpipe.testing.plugin"}
        """
    )
    run_apart().assert_outcomes(passed=1)


def test_the_documentation_names_the_existing_options_and_modes(run: Run) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    available = run("--help").stdout.str() + run("--markers").stdout.str()
    named = re.findall(r"--(?:lm-[a-z-]+|no-lm)|lmpipe_[a-z_]+|\w+(?==[^=]*\)\s+#)", page)
    assert {name for name in named if name not in available} == set()
    assert tuple(re.findall(r"^\| `(\w+)`", page, re.M)) == MODES


def test_recorded_calls_replay_without_calling_the_server(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    run("--lm-record=once").assert_outcomes(passed=1)
    assert recorded(project).is_file()
    run().assert_outcomes(passed=1)
    assert server.stats()["requests"] == 1


def test_a_suite_replays_with_another_server_address(
    project: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--lm-record=once").assert_outcomes(passed=1)
    monkeypatch.setenv("URL", "http://gone.example:1/v1")
    run().assert_outcomes(passed=1)


def test_without_a_recording_a_test_fails_and_shows_how_to_record(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    result = run()
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "the cassette cassettes/test_ask/test_one.jsonl does not exist" in text
    assert "pytest test_ask.py::test_one --lm-record=once" in text
    assert server.stats()["requests"] == 0


def test_a_miss_shows_the_line_of_the_test_without_the_library(
    project: pytest.Pytester, run: Run
) -> None:
    text = run().stdout.str()
    assert 'assert ask("Who?") == "17 letters"' in text
    assert "runtime.py" not in text


def test_one_changed_word_of_the_prompt_is_shown(project: pytest.Pytester, run: Run) -> None:
    run("--lm-record=once")
    test = project.path / "test_ask.py"
    test.write_text(test.read_text().replace("Who?", "Where?"))
    text = run().stdout.str()
    assert "[-Who-] {+Where+}?" in text
    assert "nearest of 1 recording" in text


def test_a_recorded_call_that_the_test_does_not_make_fails_the_test(
    project: pytest.Pytester, run: Run
) -> None:
    test = project.path / "test_ask.py"
    one_call = test.read_text()
    test.write_text(one_call + MORE)
    run("--lm-record=once").assert_outcomes(passed=1)
    test.write_text(one_call)
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 of its 2 recorded calls were not made*", "*When?*"])


def test_a_mark_can_allow_unplayed_calls(project: pytest.Pytester, run: Run) -> None:
    test = project.path / "test_ask.py"
    text = test.read_text().replace("cassette\n", "cassette(allow_unplayed=True)\n")
    test.write_text(text + MORE)
    run("--lm-record=once").assert_outcomes(passed=1)
    test.write_text(text)
    run().assert_outcomes(passed=1)


def test_rewriting_drops_calls_that_the_test_no_longer_makes(
    project: pytest.Pytester, run: Run
) -> None:
    test = project.path / "test_ask.py"
    text = test.read_text()
    test.write_text(text + MORE)
    run("--lm-record=once").assert_outcomes(passed=1)
    test.write_text(text)
    run("--lm-record=rewrite").assert_outcomes(passed=1)
    run().assert_outcomes(passed=1)


def test_a_miss_fails_the_test_even_if_the_code_catches_the_error(
    project: pytest.Pytester, run: Run
) -> None:
    project.makepyfile(
        test_ask="""
        from asking import *

        @pytest.mark.cassette
        def test_one():
            try:
                ask("Who?")
            except lmpipe.errors.LmpipeError:
                pass
        """
    )
    run().assert_outcomes(failed=1)


def test_the_network_is_blocked_while_a_test_replays(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    project.makepyfile(
        test_ask="""
        from asking import *
        import urllib.request

        @pytest.mark.cassette
        def test_one():
            urllib.request.urlopen(os.environ["URL"])
        """
    )
    result = run()
    result.assert_outcomes(failed=1)
    assert f"tried to reach 127.0.0.1:{server.port}" in result.stdout.str()
    assert 'allowed_hosts=["127.0.0.1"]' in result.stdout.str()


@pytest.mark.parametrize("way", ["mark", "ini"])
def test_a_host_can_be_allowed(project: pytest.Pytester, run: Run, port: int, way: str) -> None:
    mark = 'cassette(allowed_hosts=["localhost"])' if way == "mark" else "cassette"
    if way == "ini":
        ini = project.path / "tox.ini"
        ini.write_text(f"{ini.read_text()}\nlmpipe_allowed_hosts = localhost\n")
    project.makepyfile(
        test_ask=f"""
        from asking import *
        import urllib.request

        @pytest.mark.{mark}
        def test_one():
            urllib.request.urlopen("http://127.0.0.1:{port}").close()
        """
    )
    run().assert_outcomes(passed=1)


def test_async_tests_threads_and_configured_runtimes_all_use_the_cassette(
    project: pytest.Pytester, run_apart: Run, server: FakeServer
) -> None:
    project.makepyfile(
        test_ask="""
        from asking import *
        from concurrent.futures import ThreadPoolExecutor
        from lmpipe.lm.runtime import Runtime

        lmpipe.configure(runtime=Runtime())
        pytestmark = pytest.mark.cassette
        program = lmpipe.Predict("question -> answer")

        async def test_async():
            with lmpipe.using(lm=lm()):
                await program.acall(question="Who?")

        def test_thread():
            with ThreadPoolExecutor() as pool:
                pool.submit(ask, "When?").result()

        class TestClass:
            def test_own_runtime(self):
                with lmpipe.using(lm=lm(), runtime=Runtime()):
                    program(question="Where?")

        def test_configured():
            lmpipe.configure(lm=lm(), runtime=Runtime())
            program(question="Why?")
        """
    )
    run_apart("--lm-record=rewrite").assert_outcomes(passed=4)
    run_apart().assert_outcomes(passed=4)
    assert server.stats()["requests"] == 4
    names = {path.name for path in recorded(project).parent.iterdir()}
    assert "TestClass.test_own_runtime.jsonl" in names


def test_tests_can_run_in_several_processes(
    project: pytest.Pytester, run: Run, run_apart: Run
) -> None:
    test = project.path / "test_ask.py"
    text = (
        "from asking import *\nlmpipe.configure(cache=False)\npytestmark = pytest.mark.cassette\n"
    )
    names = ("one", "two", "three")
    test.write_text(text + "".join(f"def test_{name}():\n    ask('{name}')\n" for name in names))
    run("--lm-record=rewrite").assert_outcomes(passed=3)
    test.write_text(test.read_text().replace("'two'", "'2'"))
    result = run_apart("-n", "2")
    result.assert_outcomes(passed=2, failed=1)
    assert "[-two-] {+2+}" in result.stdout.str()


def test_parametrized_tests_have_separate_cassettes(project: pytest.Pytester, run: Run) -> None:
    project.makepyfile(
        test_ask="""
        from asking import *

        @pytest.mark.cassette
        @pytest.mark.parametrize("question", ["a/b", "a b", "plain"])
        def test_one(question):
            ask(question)
        """
    )
    run("--lm-record=once").assert_outcomes(passed=3)
    names = sorted(path.name for path in recorded(project).parent.iterdir())
    assert len(names) == 3
    assert "test_one-plain.jsonl" in names
    assert all(name.startswith("test_one-a_b-") for name in names[:2])


def test_the_fixture_has_the_played_calls(project: pytest.Pytester, run: Run) -> None:
    project.makepyfile(
        test_ask="""
        from asking import *

        def test_one(cassette):
            ask("Who?")
            assert cassette.path.name == "test_one.jsonl"
            (call,) = cassette.played
            assert call.request.messages[-1].content.startswith("[[question]]\\nWho?\\n")
            assert cassette.unplayed == ()
        """
    )
    run("--lm-record=once").assert_outcomes(passed=1)
    run().assert_outcomes(passed=1)


def test_the_mode_on_the_command_line_overrides_the_mark(
    project: pytest.Pytester, run: Run
) -> None:
    test = project.path / "test_ask.py"
    test.write_text(test.read_text().replace("cassette\n", 'cassette("named", mode="once")\n'))
    run("--lm-record=none").assert_outcomes(failed=1)
    run().assert_outcomes(passed=1)
    assert recorded(project, "named").is_file()


def test_rewriting_a_shared_cassette_keeps_the_calls_of_all_tests(
    project: pytest.Pytester, run: Run
) -> None:
    project.makepyfile(
        test_ask="""
        from asking import *

        pytestmark = pytest.mark.cassette("shared", allow_unplayed=True)

        @pytest.mark.parametrize("question", ["Who?", "When?"])
        def test_one(question):
            ask(question)
        """
    )
    run("--lm-record=rewrite").assert_outcomes(passed=2)
    run().assert_outcomes(passed=2)


def test_a_mark_can_record_the_results_of_tools(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    project.makepyfile(
        test_tool="""
        from asking import *

        def write(text: str) -> str:
            with open("uses.txt", "a") as file:
                file.write(text)
            return text

        @pytest.mark.cassette(record_tools=True)
        def test_tool():
            assert lmpipe.run_tool_sync(lmpipe.Tool.of(write), {"text": "Who?"}).text
        """
    )
    run("--lm-record=once", "test_tool.py").assert_outcomes(passed=1)
    run("test_tool.py").assert_outcomes(passed=1)
    assert (project.path / "uses.txt").read_text() == "Who?"


def test_a_folder_for_all_cassettes_can_be_chosen(project: pytest.Pytester, run: Run) -> None:
    ini = project.path / "tox.ini"
    ini.write_text(f"{ini.read_text()}\nlmpipe_cassette_dir = recorded\n")
    run("--lm-record=once").assert_outcomes(passed=1)
    assert (project.path / "recorded" / "test_ask" / "test_one.jsonl").is_file()


def test_a_failing_test_keeps_its_recording(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    test = project.path / "test_ask.py"
    text = test.read_text()
    test.write_text(text.replace("17 letters", "wrong"))
    run("--lm-record=once").assert_outcomes(failed=1)
    test.write_text(text)
    run().assert_outcomes(passed=1)


def test_an_outage_does_not_change_the_cassette(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    run("--lm-record=once")
    before = recorded(project).read_bytes()
    server.fail(1, "401")
    run("--lm-record=rewrite").assert_outcomes(failed=1)
    assert recorded(project).read_bytes() == before


def test_a_test_without_a_cassette_calls_the_lm_by_default(
    project: pytest.Pytester, run: Run
) -> None:
    project.makepyfile(test_ask="from asking import *\n\ndef test_one():\n    ask('Who?')\n")
    run().assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["option", "ini"])
def test_a_project_can_forbid_lms_without_a_cassette(
    project: pytest.Pytester, run: Run, server: FakeServer, way: str
) -> None:
    ini = project.path / "tox.ini"
    if way == "ini":
        ini.write_text(f"{ini.read_text()}\nlmpipe_no_lm = true\n")
    project.makepyfile(
        test_ask="""
        from asking import *

        def test_one():
            ask("Who?")

        def test_scripted():
            with lmpipe.using(lm=lmpipe.ScriptedLM(["## answer\\nme"])):
                lmpipe.Predict("question -> answer")(question="Who?")
        """
    )
    result = run(*(["--no-lm"] if way == "option" else []))
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*calls vllm/fake and has no cassette*", "*--lm-record=once*"])
    assert server.stats()["requests"] == 0


def test_the_network_can_be_blocked_in_every_test(
    project: pytest.Pytester, run: Run, port: int
) -> None:
    project.makepyfile(
        test_ask=f"""
        import urllib.request

        def test_one():
            urllib.request.urlopen("http://127.0.0.1:{port}").close()
        """
    )
    run("--lm-block-network").assert_outcomes(failed=1)
    run().assert_outcomes(passed=1)


def test_a_damaged_cassette_names_the_line(project: pytest.Pytester, run: Run) -> None:
    run("--lm-record=once")
    path = recorded(project)
    path.write_bytes(path.read_bytes() + b"<<<<<<< HEAD\n")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_one.jsonl:3: *a merge conflict*"])


def test_a_mark_with_a_misspelled_option_is_rejected(project: pytest.Pytester, run: Run) -> None:
    test = project.path / "test_ask.py"
    test.write_text(test.read_text().replace("cassette\n", "cassette(allow_unplaid=True)\n"))
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*unexpected keyword argument 'allow_unplaid'*"])


def test_a_cassette_contains_no_secret(
    project: pytest.Pytester, run: Run, server: FakeServer
) -> None:
    lm = (
        'lmpipe.LM("vllm/fake", base_url=os.environ["URL"], api_key="sesame-1", '
        'headers={"X-Key": "sesame-2"}, extra={"access_token": "sesame-3"})'
    )
    asking = project.path / "asking.py"
    asking.write_text(ASK.replace('lmpipe.LM("vllm/fake", base_url=os.environ["URL"])', lm))
    run("--lm-record=once").assert_outcomes(passed=1)
    assert "sesame" not in recorded(project).read_text()
    assert json.loads(recorded(project).read_text().splitlines()[1])["lm"]["params"] == {
        "extra": {}
    }

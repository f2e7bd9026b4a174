"""Which servers a compile needs, and when."""

from __future__ import annotations

from helpers.world import recipe

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.compiling.server_specs import server_schedule, server_specs
from lmpipe.serving import AdapterLimits, ServerSpec

SMALL, LARGE = lmpipe.LM("vllm/small"), lmpipe.LM("vllm/org/large")


def test_lms_without_a_url_are_served() -> None:
    specs = server_specs(prepare(recipe(student=SMALL, teacher=LARGE)))
    assert {name: spec.model for name, spec in specs.items()} == {
        "vllm/small": "small",
        "vllm/org/large": "org/large",
    }


def test_a_recipe_gives_their_specs() -> None:
    given = ServerSpec(model="org/small-7b", name="small", context=4096)
    specs = server_specs(prepare(recipe(student=SMALL, servers=[given])))
    assert specs == {"vllm/small": given}


def test_an_lm_with_a_url_is_not_served() -> None:
    student = lmpipe.LM("vllm/small", base_url="http://127.0.0.1:1/v1")
    assert server_specs(prepare(recipe(student=student))) == {}


def test_the_students_server_gets_adapter_limits() -> None:
    optimizer = lmpipe.BootstrapFinetune(training=lmpipe.TrainingSettings(rank=32))
    ready = prepare(recipe(student=SMALL, teacher=LARGE, optimizer=optimizer))
    specs = server_specs(ready)
    assert specs["vllm/small"].adapters == AdapterLimits(rank=32, count=1)
    assert specs["vllm/org/large"].adapters is None


def test_the_schedule_has_servers_and_trainings_in_order() -> None:
    ready = prepare(recipe(student=SMALL, teacher=LARGE, optimizer=lmpipe.BootstrapFinetune()))
    lines = "\n".join(server_schedule(ready))
    assert lines.index("vllm/org/large") < lines.index("training") < lines.index("search and test")


def test_without_servers_the_schedule_is_empty() -> None:
    assert server_schedule(prepare(recipe())) == []


def test_a_student_that_is_not_served_has_no_phase() -> None:
    student = lmpipe.LM("openai/gpt-small", base_url="http://127.0.0.1:1/v1")
    (line,) = server_schedule(prepare(recipe(student=student, teacher=LARGE)))
    assert line.startswith("rollouts: serve vllm/org/large")

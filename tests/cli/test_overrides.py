"""The changes of a command line, as manifests store them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.world import recipe

from lmpipe.cli.options import LMOptions
from lmpipe.cli.overrides import LMChoice, Overrides, RateOptions, lm_overrides
from lmpipe.errors import ArtifactError, RecipeError

URL = "http://127.0.0.1:9/v1"


def test_changes_survive_a_round_trip_through_the_manifest() -> None:
    options = LMOptions(student="vllm/m", judge="vllm/j", base_url=[URL], temperature=0.7, rpm=60)
    options = replace(options, reasoning="500")
    changes = lm_overrides(options, teacher="vllm/t")
    assert Overrides.from_json(changes.to_json()) == changes


def test_only_what_was_changed_is_stored() -> None:
    changes = lm_overrides(LMOptions(student="vllm/m", base_url=[URL], rpm=60))
    assert changes.to_json() == {
        "student": {"model": "vllm/m", "base_urls": [URL]},
        "rates": {"rpm": 60},
    }


def test_an_embedder_has_no_decoding_settings() -> None:
    options = LMOptions(embedder="vllm/e", base_url=[URL], temperature=0.7, max_tokens=9)
    assert lm_overrides(options).embedder == LMChoice(model="vllm/e", base_urls=(URL,))


def test_objectives_are_weights_by_name() -> None:
    changed = Overrides(objectives="tokens=-0.02, usd=-1").apply(recipe())
    assert changed.objectives == {"tokens": -0.02, "usd": -1}


@pytest.mark.parametrize("text", ["tokens", "tokens=few", "calls=-1"])
def test_objectives_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(RecipeError, match=text.partition("=")[0]):
        Overrides(objectives=text).apply(recipe())


def test_passwords_in_addresses_are_not_stored() -> None:
    changes = lm_overrides(LMOptions(judge="vllm/j", base_url=["http://me:secret@host/v1"]))
    assert changes.to_json()["judge"]["base_urls"] == ["http://host/v1"]


def test_manifests_of_older_versions_are_read() -> None:
    older = {"student": {"model": "vllm/m", "base_url": URL}, "traffic": {"timeout": 30}}
    found = Overrides.from_json(older)
    assert found.student == LMChoice(model="vllm/m", base_urls=(URL,))
    assert found.rates == RateOptions(timeout=30)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"seed": "many"}, "seed"),
        ({"rates": {"rpm": "fast"}}, "rates.rpm"),
        ({"race": "perhaps"}, "race"),
        ({"student": {"model": 3}}, "student.model"),
        ({"command": "rm"}, "command"),
    ],
)
def test_a_damaged_manifest_is_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError, match=f"overrides cannot be read: {words}"):
        Overrides.from_json(value)

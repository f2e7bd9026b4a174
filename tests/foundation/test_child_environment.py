"""A child process gets no keys of services that it does not use."""

from __future__ import annotations

from lmpipe.foundation.child_environment import child_environment


def test_keys_of_other_services_are_dropped_and_everything_else_stays() -> None:
    kept = {
        "PATH": "/bin",
        "HF_TOKEN": "hf",
        "HUGGING_FACE_HUB_TOKEN": "hf",
        "VLLM_API_KEY": "v",
        "HTTPS_PROXY": "http://user:pw@proxy:3128",
        "HF_ENDPOINT": "https://mirror",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    secret = {
        "OPENAI_API_KEY": "s",
        "ANTHROPIC_API_KEY": "s",
        "GITHUB_TOKEN": "s",
        "AWS_SECRET_ACCESS_KEY": "s",
        "DB_PASSWORD": "s",
        "DATABASE_URL": "postgres://user:pw@host/db",
    }
    assert child_environment({**kept, **secret}) == kept


def test_variables_that_the_child_needs_can_be_kept() -> None:
    assert child_environment({"AWS_SECRET_ACCESS_KEY": "s"}, keep=r"AWS_.*") == {
        "AWS_SECRET_ACCESS_KEY": "s"
    }

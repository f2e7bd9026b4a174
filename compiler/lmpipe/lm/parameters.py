"""Decoding parameters: which names servers know, which are misspelled, and what vLLM is sent."""

from __future__ import annotations

import difflib
from collections.abc import Collection

# Parameters of OpenAI's API, vLLM, llama.cpp and litellm. Others are passed on too, unless they
# look like a misspelled option.
KNOWN = frozenset(
    """
    frequency_penalty logit_bias logprobs max_completion_tokens metadata modalities n
    parallel_tool_calls prediction presence_penalty reasoning_effort response_format seed
    service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p
    user verbosity
    allowed_token_ids bad_words add_generation_prompt chat_template chat_template_kwargs
    continue_final_message guided_choice guided_grammar guided_json guided_regex ignore_eos
    include_stop_str_in_output length_penalty min_p min_tokens priority prompt_logprobs
    repetition_penalty skip_special_tokens spaces_between_special_tokens stop_token_ids
    structured_outputs thinking_token_budget top_k truncate_prompt_tokens use_beam_search
    dry_multiplier dynatemp_exponent dynatemp_range grammar json_schema min_keep
    mirostat mirostat_eta mirostat_tau n_keep n_predict n_probs repeat_last_n repeat_penalty
    samplers thinking_budget_tokens typical_p xtc_probability xtc_threshold
    api_version extra_body extra_headers safety_settings thinking
    """.split()  # noqa: SIM905 - one string a line is harder to read
)

# vLLM fills in missing parameters from the model's generation config, which is not in the cache
# key. These values have no effect on decoding.
VLLM_DEFAULTS = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def meant_option(name: str, options: Collection[str]) -> str | None:
    """Return the option that a parameter's name misspells, or None if it misspells none."""
    if name in options or name in KNOWN:
        return None
    near = difflib.get_close_matches(name.lower(), options, n=1, cutoff=0.75)
    return near[0] if near else None

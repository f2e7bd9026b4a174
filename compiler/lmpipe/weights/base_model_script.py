"""Makes a Hugging Face folder of a GGUF file; run by the training environment's Python.

    python base_model_script.py MODEL.gguf FOLDER

For models of Llama's architecture, as the embedded one is. The weights are stored as bfloat16.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_BLOCK = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def main() -> None:
    source, target = sys.argv[1:3]
    import gguf

    reader = gguf.GGUFReader(source)
    if field(reader, "general.architecture") != "llama":
        sys.exit(f"{source} is no model of Llama's architecture")
    os.makedirs(target)
    write_weights(reader, target)
    with open(os.path.join(target, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config(reader), file, indent=2)
    write_tokenizer(source, target)
    for name in os.listdir(target):
        os.chmod(os.path.join(target, name), 0o644)


def hugging_face_name(name: str) -> str:
    """What a tensor is called there: `blk.3.attn_q.weight` is in layer 3."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_BLOCK[part]}.{kind}"


def unpermuted(weight: Any, heads: int) -> Any:
    """Undo llama.cpp's order of the rows that are rotated by position: it keeps pairs together."""
    shape = weight.shape
    pairs = weight.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
    return pairs.swapaxes(1, 2).reshape(shape)


def write_weights(reader: Any, target: str) -> None:
    import gguf
    import numpy as np
    import torch
    from safetensors.torch import save_file

    heads = {
        "attn_q": field(reader, "llama.attention.head_count"),
        "attn_k": field(reader, "llama.attention.head_count_kv"),
    }
    weights = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = unpermuted(values, heads[part])
        weights[hugging_face_name(tensor.name)] = torch.from_numpy(np.ascontiguousarray(values)).to(
            torch.bfloat16
        )
    save_file(weights, os.path.join(target, "model.safetensors"), metadata={"format": "pt"})


def config(reader: Any) -> dict[str, Any]:
    tied = "output.weight" not in [tensor.name for tensor in reader.tensors]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": tied,
        "hidden_size": field(reader, "llama.embedding_length"),
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_attention_heads": field(reader, "llama.attention.head_count"),
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        "vocab_size": field(reader, "llama.vocab_size"),
        "max_position_embeddings": field(reader, "llama.context_length"),
        # Stored in single precision; the model's own file says 1e-05.
        "rms_norm_eps": round(field(reader, "llama.attention.layer_norm_rms_epsilon"), 8),
        "rope_theta": field(reader, "llama.rope.freq_base"),
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": field(reader, "tokenizer.ggml.padding_token_id"),
    }


def field(reader: Any, name: str) -> Any:
    value = reader.fields[name].contents()
    return value if isinstance(value, str) else value.item() if hasattr(value, "item") else value


def write_tokenizer(source: str, target: str) -> None:
    """The tokenizer and the chat template, which the GGUF holds as well."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoTokenizer

    folder, name = os.path.split(os.path.abspath(source))
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)


if __name__ == "__main__":
    # The folder of this file is no place to import from: its names are those of lmpipe.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    main()

"""Shapes of models, as the keys of transformers' configs, which is all that memory and time depend on.

Those of well-known ones are here; `random_model` makes a model of a shape.
"""

from typing import Any

import torch
from torch import nn

_LLAMA = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


def _llama(*sizes: int, vocab_size: int, model_type: str = "llama", **others: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        **dict(zip(_LLAMA, sizes, strict=True)),
        "vocab_size": vocab_size,
        **others,
    }


# From each model's config.json.
SHAPES: dict[str, dict[str, Any]] = {
    "llama2-7b": _llama(4096, 11008, 32, 32, 32, vocab_size=32000, max_position_embeddings=4096),
    "llama2-13b": _llama(5120, 13824, 40, 40, 40, vocab_size=32000, max_position_embeddings=4096),
    "llama3-8b": _llama(4096, 14336, 32, 32, 8, vocab_size=128256, max_position_embeddings=8192),
    "llama3-70b": _llama(8192, 28672, 80, 64, 8, vocab_size=128256, max_position_embeddings=8192),
    "llama3.2-3b": _llama(
        *(3072, 8192, 28, 24, 8), vocab_size=128256, max_position_embeddings=131072, tie_word_embeddings=True
    ),
    "mistral-7b": _llama(
        *(4096, 14336, 32, 32, 8),
        model_type="mistral",
        vocab_size=32768,
        max_position_embeddings=32768,
        sliding_window=None,
    ),
    "qwen2.5-7b": _llama(
        *(3584, 18944, 28, 28, 4), model_type="qwen2", vocab_size=152064, max_position_embeddings=131072
    ),
    "qwen3-8b": _llama(
        *(4096, 12288, 36, 32, 8),
        model_type="qwen3",
        vocab_size=151936,
        max_position_embeddings=40960,
        head_dim=128,
    ),
    "roberta-large": {
        "model_type": "roberta",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
}


def shape_of(model: str) -> dict[str, Any]:
    """Of a known model, or as the config says that transformers finds in a folder or on the hub.

    ValueError where there is none.
    """
    from transformers import AutoConfig

    if model in SHAPES:
        return SHAPES[model]
    try:
        return AutoConfig.from_pretrained(model).to_dict()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model} is neither a known shape ({', '.join(SHAPES)}) nor a config that transformers can "
            f"read: {str(error).splitlines()[0]}"
        ) from None


def random_model(shape: dict[str, Any], precision: str, device: str, length: int) -> nn.Module:
    """A causal language model of this shape for sequences of `length` tokens, made on the device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**shape)
    config.max_position_embeddings = max(length, getattr(config, "max_position_embeddings", 0))
    with torch.device(device):
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, precision))
    return model

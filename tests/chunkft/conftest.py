"""Small random models of many architectures, in fp64, each with a function that gives its loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}
FEW_HEADS = {**SMALL, "num_key_value_heads": 1, "head_dim": 8}
GPT2 = {"n_embd": 16, "n_inner": 24, "n_layer": 2, "n_head": 2, "vocab_size": 40, "n_positions": 32}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40}
MIXTURE = {**FEW_HEADS, "num_local_experts": 3, "num_experts_per_tok": 2, "experts_implementation": "eager"}

TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**FEW_HEADS)),
    "llama-tied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**FEW_HEADS, tie_word_embeddings=True)),
    "qwen": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SMALL, num_key_value_heads=1)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**FEW_HEADS)),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)),
    "gpt-neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SMALL)),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(**SMALL, ffn_dim=24, word_embed_proj_dim=16, pad_token_id=1)
    ),
    "gemma": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**FEW_HEADS)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**FEW_HEADS)),
    "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**MIXTURE)),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5, decoder_start_token_id=0)),
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL, pad_token_id=1)),
}


class Convolutional(nn.Module):
    """Parameters with one, two and four dimensions, a module used twice, in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Linear(4, 4)
        self.layer_norm = nn.LayerNorm(4)
        self.rms_norm = nn.RMSNorm(4)
        self.out = nn.Linear(4, 40)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.convolution(x)).permute(0, 2, 3, 1)  # (batch, height, width, channels)
        x = F.relu(self.twice(x), inplace=True)
        x = self.layer_norm(self.twice(x)).mul_(self.scale)
        return self.out(self.rms_norm(x).mean((1, 2)))


Loss = Callable[[nn.Module], Tensor]


def build(name: str) -> tuple[nn.Module, Loss]:
    """A model in fp64 without dropout, and its loss on fixed data."""
    torch.manual_seed(0)
    if name == "convolutional":
        images, classes = torch.randn(3, 1, 4, 4, dtype=torch.float64), torch.randint(40, (3,))
        return Convolutional().double(), lambda model: F.cross_entropy(model(images), classes)
    model = TRANSFORMERS[name]()
    with torch.no_grad():  # libraries set biases to 0 and scales to 1, which would hide mistakes in them
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p), alpha=0.1)
    ids = torch.randint(2, 40, (2, 7))
    ids[0, -2:] = 1  # padding, where the model knows of it

    def loss(model: nn.Module) -> Tensor:
        result: Any = model(input_ids=ids, labels=ids)
        return result.loss  # type: ignore[no-any-return]

    return model.double().eval(), loss  # eval for its lack of dropout


ARCHITECTURES = [*TRANSFORMERS, "convolutional"]


@pytest.fixture
def llama() -> tuple[nn.Module, Loss]:
    return build("llama")


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> tuple[nn.Module, Loss]:
    return build(request.param)

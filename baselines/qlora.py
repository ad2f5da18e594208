"""QLoRA: LoRA beside linear layers whose weights are stored in 4 bits (peft, bitsandbytes).

    Y = X dequantise(W_4) + (alpha / rank) X A B

W_4 is 4-bit NormalFloat with its scales quantised too.  Products are computed in the run's
precision; A and B are fp32.  Output head, embedding and norms are not quantised.
"""

from typing import Any

from baselines import Run, Tuning, lora

TITLE = "QLoRA"
PAPER = "arXiv 2305.14314"
PARAMETERS: dict[str, Any] = {"rank": 64, "alpha": 16.0, "dropout": 0.1}
REQUIRES = (*lora.REQUIRES, "bitsandbytes")
NOTES = (
    "Kept: beside 16-bit weights the adapters and their products are in fp32, peft's default.",
    "Merging writes the 4-bit weights out in the run's precision and rounds the sum, not to 4 bits again.",
    "The optimizer's state is not paged: the adapters' is small.",
)
RESUMES = True

supports = lora.supports


def build(model: Any, run: Run) -> Tuning:
    quantise(model)
    model.is_loaded_in_4bit = True  # by which peft knows that it adapts 4-bit layers
    tuning = lora.adapt(model, run)
    del model.is_loaded_in_4bit
    return tuning


def quantise(model: Any) -> None:
    """Store the weights of every linear layer but a head's in 4 bits, one layer after the other."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    body = model.base_model  # transformers' name for all but the head
    for name in [name for name, module in body.named_modules() if isinstance(module, torch.nn.Linear)]:
        layer = body.get_submodule(name)  # not listed: a list would keep every 16-bit weight alive
        weight = layer.weight
        stored = Linear4bit(
            layer.in_features, layer.out_features, bias=False, compute_dtype=weight.dtype, device="meta"
        )
        stored.weight = Params4bit(
            weight.data, quant_type="nf4", compress_statistics=True, module=stored, requires_grad=False
        ).to(weight.device)
        stored.bias = layer.bias
        # the scales are no parameters; as buffers they count as weights where memory is measured
        state = stored.weight.quant_state
        stored.register_buffer("scales", state.absmax, persistent=False)
        stored.register_buffer("scales_of_scales", state.state2.absmax, persistent=False)
        # some CPUs would have the weights laid out anew in the first evaluation, for other kernels
        stored.support_avx512bf16_for_cpu = False
        body.set_submodule(name, stored)


def export(model: Any) -> Any:
    """Plain linear layers again: what the 4-bit weights stand for, plus the adapters' product."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora import LoraLayer

    plain = model.get_base_model()
    for name, adapted in [(n, m) for n, m in plain.named_modules() if isinstance(m, LoraLayer)]:
        stored = adapted.get_base_layer()
        weight = dequantize_4bit(stored.weight.data, stored.weight.quant_state)
        tuned = (weight.float() + adapted.get_delta_weight("default")).to(weight.dtype)
        layer = torch.nn.Linear(*weight.shape[::-1], bias=False, device="meta")
        layer.weight, layer.bias = torch.nn.Parameter(tuned.detach()), stored.bias
        plain.set_submodule(name, layer)
    return plain

"""The built-in shapes have as many parameters as the models they are named after."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from chunkft.shapes import SHAPES

PARAMETERS = {  # as their makers state them
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3.2-3b": 3_212_749_824,
    "mistral-7b": 7_248_023_552,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
    "roberta-large": 355_412_057,  # with the head that predicts masked words, without the pooler
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[name]))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]

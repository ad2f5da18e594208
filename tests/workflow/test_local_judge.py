"""A judge behind transformers' own OpenAI-compatible server on 127.0.0.1: no key, no price, a real model."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from workflow.steps import judge, mt_bench
from workflow.steps.evaluate import load
from workflow.steps.files import InputError, read_jsonl

VERDICT = "[7]"  # FastChat reads single brackets too; here each character is one token, and follows one other
TURN = '{% for message in messages %}{{ message["content"] }}{% endfor %}<|assistant|>'
SETTINGS = {"template": "oasst_pythia", "limit": None, "batch_size": 6, "max_new_tokens": 4}


def always_seven(tiny: Path, folder: Path) -> None:
    """A model whose layers add nothing and whose head knows one thing: which character follows which."""
    model, tokenizer = load(tiny, "cpu")
    chain = tokenizer.convert_tokens_to_ids(["<|assistant|>", *VERDICT, tokenizer.eos_token])
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for token, following in zip(chain, chain[1:], strict=False):
            model.lm_head.weight[following] = model.model.embed_tokens.weight[token]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TURN)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that loads the model a call names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [Path(sys.executable).parent / "transformers", "serve", "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    folder = tmp_path_factory.mktemp("server")
    offline = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **offline}, stdout=log, stderr=log)
    try:
        while not healthy(url):
            assert server.poll() is None, f"the server ended: {(folder / 'log').read_text()}"
            time.sleep(0.1)
        yield f"{url}/v1"
    finally:
        server.terminate()
        server.wait()


def healthy(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=1).close()
    except OSError:
        return False
    return True


def settings(folder: Path, address: str, data_root: Path) -> dict:
    """What a user writes for a judge without a key, with FastChat's own prompts and references."""
    real = data_root / "data" / "mt_bench"
    return {
        "name": str(folder),
        "base_url": address,
        "api_key_env": None,
        "prompts": str(real / "judge_prompts.jsonl"),
        "references": str(real / "reference_answer" / "gpt-4.jsonl"),
        "max_tokens": 8,
        "retries": 0,
    }


def real_questions(data_root: Path, count: int) -> list[dict]:
    return mt_bench.read_questions(data_root / "data" / "mt_bench" / "question.jsonl", count)


def test_a_served_model_judges_from_end_to_end(tiny_model, address, data_root, tmp_path) -> None:
    served = tmp_path / "judge"
    always_seven(tiny_model, served)
    questions = real_questions(data_root, 3)
    told = {**SETTINGS, "judge": settings(served, address, data_root)}
    judge.check(told["judge"], questions)
    found, samples = mt_bench.evaluation(*load(tiny_model, "cpu"), told, questions, "m", "run", tmp_path)
    assert (found["score"], found["scores"]["turn 2"], found["judge"]) == (7, 7, str(served))
    assert [sample["judgment"] for sample in samples] == [VERDICT] * 6


def test_a_served_model_that_tells_stories_fails_the_evaluation(
    tiny_model, address, data_root, tmp_path
) -> None:
    """Fluent, and no verdict: the question is named, and what the judge said is kept."""
    served = tmp_path / "judge"
    shutil.copytree(data_root / "models" / "stories260K", served, copy_function=shutil.copyfile)
    (served / "chat_template.jinja").write_text(TURN)
    told = {**SETTINGS, "judge": settings(served, address, data_root)}
    with pytest.raises(InputError, match="question 81, turn 1 has no score from the judge"):
        questions = real_questions(data_root, 1)
        mt_bench.evaluation(*load(tiny_model, "cpu"), told, questions, "m", "run", tmp_path)
    (file,) = (tmp_path / "model_judgment").iterdir()
    assert [row["score"] for row in read_jsonl(file)] == [-1, -1]
    assert all(row["judgment"] for row in read_jsonl(file))

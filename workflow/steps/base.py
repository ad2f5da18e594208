"""The model every method starts from: found, or pre-trained here.

Writes `base.json` with the model's folder and revision, and beside it `model/`
where it was made here.
"""

import argparse
import random
from pathlib import Path

from workflow.steps.files import (
    InputError,
    exit_on_input_error,
    first_line,
    read_json,
    read_jsonl,
    sha256,
    write_json,
)
from workflow.steps.fingerprint import fingerprint
from workflow.synthetic import generators

SPECIAL_TOKENS = (
    "<|pad|>",
    "<|endoftext|>",
    "<|prompter|>",
    "<|assistant|>",
)  # the last three: FastChat's oasst_pythia


def find(path: str, revision: str | None) -> dict:
    """Folder and revision of a pretrained model: a local folder, or one fetched from the hub."""
    folder = Path(path).expanduser()
    if path.startswith((".", "/", "~")) or folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"`model.path`: {folder} holds no transformers model (no config.json)")
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise InputError(f"`model.path`: {folder} holds no *.safetensors weights")
        return {"path": str(folder.resolve()), "revision": "sha256:" + sha256(weights[0])}
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.txt"]
        local = snapshot_download(path, revision=revision, allow_patterns=patterns)
    except Exception as error:  # the hub's client raises a different type for each way of failing
        raise InputError(
            f"`model.path`: {path!r} could not be fetched from the hub ({first_line(error)}); "
            "check the name, your access and the network, or give a local folder"
        ) from None
    return {"path": local, "revision": Path(local).name}


def pretrain(config: dict, data: Path, out: Path, states: Path) -> dict:
    """Trains a tokenizer and a Llama on the generators' corpora; returns folder and revision.

    The tokenizer alone sees the training rows of `data` too: it has their words,
    as a real model's has, while the model has not read them.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from baselines import Tuning
    from workflow.steps import checkpoint, loop

    plan = config["model"]["pretrain"]
    torch.set_num_threads(plan["threads"])
    texts = _corpus(config)
    rows = ["".join(text for text, _ in row["pieces"]) for row in read_jsonl(data / "train.jsonl")]
    tokenizer = _tokenizer(texts + rows, config["model"]["architecture"]["vocab_size"])
    torch.manual_seed(plan["seed"])
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    model = LlamaForCausalLM(LlamaConfig(**config["model"]["architecture"], **special))
    stream = torch.tensor(
        [token for ids in tokenizer(texts)["input_ids"] for token in (*ids, tokenizer.eos_token_id)]
    )

    def batch_at(step: int) -> loop.Batch:
        draw = torch.Generator().manual_seed(plan["seed"] + step)
        starts = torch.randint(len(stream) - plan["length"], (plan["batch_size"], 1), generator=draw)
        ids = stream[starts + torch.arange(plan["length"])]
        return [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}]

    optimizer = torch.optim.AdamW(model.parameters(), lr=plan["lr"], weight_decay=0.01)
    schedule = loop.Schedule(plan["lr"], plan["steps"], "cosine", warmup=0.03)
    curve = loop.fit(
        Tuning(model, optimizer), batch_at, schedule, max_grad_norm=1.0, states=states, label="pre-train"
    )
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    checkpoint.remove(states)
    revision = "sha256:" + sha256(out / "model" / "model.safetensors")
    return {"path": "model", "revision": revision, "loss": curve["loss"][-1], "seconds": curve["seconds"][-1]}


def _corpus(config: dict) -> list[str]:
    plan, tasks = config["model"]["pretrain"], config["data"]["sources"]
    texts = [text for task in tasks for text in generators()[task].corpus(plan["texts"], plan["seed"])]
    random.Random(plan["seed"]).shuffle(texts)
    return texts


def _tokenizer(texts: list[str], vocabulary: int):
    """A byte-level BPE tokenizer trained on `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, end, *_ = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=end, clean_up_tokenization_spaces=False
    )


def model_folder(base: Path) -> Path:
    """The model's folder that a `base.json` names, relative to it where it was made here."""
    return base.parent / read_json(base)["path"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Find or pre-train the base model of an experiment.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--data", type=Path, required=True, help="the folder that the data step wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    config = read_json(arguments.config)
    if config["model"]["path"] is None:
        states = arguments.out.parents[1] / ".state" / f"base-{fingerprint(config, 'base')}"
        found = pretrain(config, arguments.data, arguments.out, states)
    else:
        found = find(config["model"]["path"], config["model"]["revision"])
    write_json(arguments.out / "base.json", found)


if __name__ == "__main__":
    exit_on_input_error(main)

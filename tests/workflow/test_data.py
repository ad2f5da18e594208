"""Every source ends in the same place and shape, or in one sentence naming what is wrong with it."""

import gzip
import json
from pathlib import Path

import pytest

from workflow.steps.configuration import load
from workflow.steps.data import prepare
from workflow.steps.files import InputError, read_jsonl
from workflow.synthetic import distinct, generators
from workflow.tasks import tasks

MINI = Path(__file__).parents[2] / "workflow" / "config" / "mini.yaml"
ROWS = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(20)]


@pytest.fixture
def config() -> dict:
    sizes = {task: {"rows": {"train": 60, "test": 10}} for task in ("gsm8k", "mmlu", "mt_bench")}
    overrides = {"data": {"sources": sizes, "validation": 5}, "train": {"data": dict.fromkeys(sizes, 50)}}
    return load([MINI], overrides)


def local(config: dict, folder: Path) -> dict:
    config["data"]["sources"] = {"gsm8k": {"path": str(folder), "splits": {"train": "rows"}}}
    config["train"]["data"] = {"gsm8k": 10}
    return config


@pytest.mark.parametrize("task", generators())
def test_generators_are_seeded_and_splits_share_no_question(task: str) -> None:
    generate = generators()[task].generate
    train, test = generate("train", 300, 1), generate("test", 100, 1)
    assert train == generate("train", 300, 1) != generate("train", 300, 2)
    keys = [
        json.dumps(row.get("turns", [row.get("question"), row.get("choices")])) for row in (*train, *test)
    ]
    assert len(set(keys)) == 400
    for row in train:
        assert all(isinstance(row[column], kind) for column, kind in tasks()[task].COLUMNS.items())


def test_generated_answers_are_right() -> None:
    for row in generators()["gsm8k"].generate("train", 200, 0):
        *steps, last = row["answer"].split("\n")
        for step in steps:
            formula, result = step.split(" = ")
            assert eval(formula) == int(result)  # sums made here
        assert last == f"#### {steps[-1].split(' = ')[1]}"


def test_corpora_never_use_the_wording_of_the_tasks() -> None:
    for generator in generators().values():
        text = " ".join(generator.corpus(500, 0))
        assert not any(
            words in text for words in ("Question", "Answer", "####", "Write", "How many", "What", "?")
        )


def test_everything_is_written_and_counted(config: dict, tmp_path: Path) -> None:
    manifest = prepare(config, tmp_path)
    assert manifest["train.jsonl"]["rows"] == 150
    assert manifest["validation.jsonl"]["rows"] == 15
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    train = {json.dumps(row) for row in read_jsonl(tmp_path / "train.jsonl")}
    assert not train & {json.dumps(row) for row in read_jsonl(tmp_path / "validation.jsonl")}
    assert prepare(config, tmp_path / "again") == manifest


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "parquet"])
def test_local_files_of_every_kind(config: dict, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    if kind == "jsonl":
        path.write_text(lines)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    prepare(local(config, tmp_path), tmp_path / "out")
    assert list(read_jsonl(tmp_path / "out" / "gsm8k" / "train.jsonl")) == ROWS


def test_columns_are_renamed(config: dict, tmp_path: Path) -> None:
    rows = [{"q": row["question"], "answer": row["answer"]} for row in ROWS]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    config = local(config, tmp_path)
    config["data"]["sources"]["gsm8k"]["columns"] = {"question": "q"}
    prepare(config, tmp_path / "out")
    assert list(read_jsonl(tmp_path / "out" / "gsm8k" / "train.jsonl")) == ROWS


BAD = {
    "missing file": (None, "has no file rows"),
    "empty file": ("", "has no rows"),
    "malformed line": ('{"question": "a", "answer": "b"}\n{"question": \n', r"rows\.jsonl, line 2: not JSON"),
    "a line that is no row": ("[1]\n", "line 1: a JSON object is wanted"),
    "missing column": ('{"question": "a"}\n', "row 1: no column `answer`; it has question"),
    "wrong type": ('{"question": "a", "answer": 3}\n', "row 1: `answer` is a int, a str is wanted"),
    "too few rows": ('{"question": "a", "answer": "b"}\n', "asks for 10 rows"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD)
def test_bad_files_are_named(config: dict, tmp_path: Path, text: str | None, expected: str) -> None:
    if text is not None:
        (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=expected):
        prepare(local(config, tmp_path), tmp_path / "out")


def test_an_unreachable_hub_is_one_sentence(
    config: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    config["data"]["sources"]["gsm8k"] = {"path": "openai/gsm8k", "splits": {"train": "train"}}
    with pytest.raises(InputError, match="'openai/gsm8k' could not be loaded from the hub") as refusal:
        prepare(config, tmp_path)
    assert "\n" not in str(refusal.value)


def test_more_rows_than_the_generator_has(
    config: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(split: str, size: int, seed: int) -> list[dict]:
        return list(distinct(lambda rng: (str(rng.randrange(30)), {}), split, size, seed))

    monkeypatch.setattr(generators()["mmlu"], "generate", few)
    with pytest.raises(InputError, match=r"data\.sources\.mmlu\.rows\.train.*found only \d+ distinct rows"):
        prepare(config, tmp_path)

"""Brings every data set into one place and shape: generated, local or from the hub.

Writes, under `--out`:

    <task>/<split>.jsonl     rows with the columns of the hub's data set
    train.jsonl              {"task": ..., "pieces": [[text, is_answer], ...]}, the methods' training rows
    validation.jsonl         the same, held out
    manifest.json            source, revision, rows and sha256 of each file
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

from workflow.steps.files import (
    InputError,
    exit_on_input_error,
    first_line,
    read_json,
    read_jsonl,
    sha256,
    write_json,
    write_jsonl,
)
from workflow.synthetic import generators
from workflow.tasks import tasks

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")


def prepare(config: dict, out: Path) -> dict:
    """Writes the data of `config` under `out` and returns the manifest."""
    manifest = {}
    for task, source in config["data"]["sources"].items():
        for split in _splits(source):
            rows, origin = _rows(task, split, source, config["data"]["seed"])
            if arrange := getattr(tasks()[task], "rows", None):
                rows = arrange(rows)
            _check_columns(rows, tasks()[task].COLUMNS, origin)
            path = out / task / f"{split}.jsonl"
            write_jsonl(path, rows)
            manifest[f"{task}/{split}.jsonl"] = {"source": origin, "rows": len(rows), "sha256": sha256(path)}
    for name, rows in _training_rows(config, out).items():
        write_jsonl(out / f"{name}.jsonl", rows)
        manifest[f"{name}.jsonl"] = {
            "source": "drawn from the above",
            "rows": len(rows),
            "sha256": sha256(out / f"{name}.jsonl"),
        }
    write_json(out / "manifest.json", manifest)
    return manifest


def _splits(source: dict) -> list[str]:
    return list(source["rows"] if source["path"] == "generated" else source["splits"])


def _rows(task: str, split: str, source: dict, seed: int) -> tuple[list[dict], str]:
    """The rows of one split, in their own order, and the words that say where they are from."""
    path = source["path"]
    if path == "generated":
        if task not in generators():
            raise InputError(
                f"`data.sources.{task}`: nothing generates this task; give a hub id or a local folder"
            )
        try:
            return generators()[task].generate(split, source["rows"][split], seed), "generated"
        except ValueError as error:
            raise InputError(
                f"`data.sources.{task}.rows.{split}` is {source['rows'][split]}: {error}"
            ) from None
    theirs = source["splits"][split]
    is_local = path.startswith((".", "/", "~")) or Path(path).is_dir()
    rows, origin = _local(Path(path).expanduser(), theirs) if is_local else _hub(source, theirs)
    ours = {theirs: ours for ours, theirs in source.get("columns", {}).items()}
    return [{ours.get(key, key): value for key, value in row.items()} for row in rows], origin


def _local(folder: Path, name: str) -> tuple[list[dict], str]:
    candidates = [folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no file {name} (nor with one of the endings {', '.join(SUFFIXES)})")
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            rows = pyarrow.parquet.read_table(path).to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path} is not a parquet file ({error})") from None
    elif path.suffix == ".json":
        rows = read_json(path)
    else:
        rows = list(read_jsonl(path))
    return rows, str(path)


def _hub(source: dict, split: str) -> tuple[list[dict], str]:
    import datasets

    revision = source.get("revision")
    try:
        loaded = datasets.load_dataset(source["path"], source.get("subset"), split=split, revision=revision)
    except Exception as error:  # the hub's client raises a different type for each way of failing
        raise InputError(
            f"data set {source['path']!r} could not be loaded from the hub ({first_line(error)}); "
            "check the name and the network, or give a local folder"
        ) from None
    return loaded.to_list(), f"{source['path']}@{revision or 'main'} {split} {loaded._fingerprint}"


def _check_columns(rows: list[dict], columns: dict[str, type], origin: str) -> None:
    if not rows:
        raise InputError(f"{origin} has no rows")
    for number, row in enumerate(rows, start=1):
        for column, kind in columns.items():
            if column not in row:
                raise InputError(f"{origin}, row {number}: no column `{column}`; it has {', '.join(row)}")
            if not isinstance(row[column], kind):
                found = type(row[column]).__name__
                raise InputError(
                    f"{origin}, row {number}: `{column}` is a {found}, a {kind.__name__} is wanted"
                )


def _training_rows(config: dict, out: Path) -> dict[str, list[dict]]:
    """Held-out rows and the rows each method is trained on, the same for all of them."""
    training, validation = [], []
    for task, count in config["train"]["data"].items():
        rows = list(_examples(task, config, out))
        random.Random(f"{task} {config['data']['seed']}").shuffle(rows)
        held_out = config["data"]["validation"]
        available = len(rows) - held_out
        if available < (count or 1):
            raise InputError(
                f"`train.data.{task}` asks for {count or 'all'} rows and `data.validation` for {held_out}, "
                f"but there are {len(rows)}"
            )
        validation += rows[:held_out]
        training += rows[held_out : held_out + (count or available)]
    return {"train": training, "validation": validation}


def _examples(task: str, config: dict, out: Path) -> Iterator[dict]:
    path = out / task / "train.jsonl"
    if not path.exists():
        raise InputError(f"`train.data.{task}`: its source has no `train` split")
    file = tasks()[task]
    for row in read_jsonl(path):
        classified = (
            {"sentences": file.sentences(row), "label": row["label"]} if hasattr(file, "sentences") else {}
        )
        yield {"task": task, "pieces": file.example(row, config["train"]["template"]), **classified}


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare the data of an experiment.")
    parser.add_argument("--config", type=Path, required=True, help="a resolved config.json")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    manifest = prepare(read_json(arguments.config), arguments.out)
    print(json.dumps({name: entry["rows"] for name, entry in manifest.items()}))


if __name__ == "__main__":
    exit_on_input_error(main)

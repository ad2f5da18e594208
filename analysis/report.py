"""`report.html`: everything of an experiment in one file that opens from disk, without network."""

import base64
import json
from collections import Counter
from pathlib import Path

import jinja2
import yaml

from analysis.collect import Results
from analysis.files import ROOT, InputError, write_file
from analysis.published import model_of
from analysis.stage import stage
from analysis.table import Table
from analysis.tables import tables

TEMPLATE = Path(__file__).with_name("report.html.j2")
CITATION = ROOT / "CITATION.cff"


def write(results: Results) -> None:
    """Raises InputError where the figures are not there yet."""
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = template.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        outcomes=outcomes(results),
        planned=[planned.outcome.status for planned in results.planned()],
        counted=counted,
        size=size(results),
        tables=[as_html(table) for table in tables(results)],
        figures=figures(results),
        differences=differences(results),
        provenance=provenance(results),
        commits=commits,
        software=yaml.safe_load(CITATION.read_text(encoding="utf-8")),
    )
    write_file(results.folder / "report.html", page)


def outcomes(results: Results) -> list[dict]:
    """Per method, what became of its planned results, and why of those that are not there."""
    rows = {
        method: {"title": results.title(method), "words": [], "reasons": []} for method in results.methods
    }
    for planned in results.planned():
        outcome, row = planned.outcome, rows[planned.method]
        row["words"].append(outcome.status)
        if outcome.status != "ok":
            row["reasons"].append(": ".join(filter(None, (outcome.status, outcome.reason))))
    for row in rows.values():
        row["counts"] = counted(row["words"])
        row["reasons"] = list(dict.fromkeys(row["reasons"]))
    return list(rows.values())


def size(results: Results) -> str:
    """Such as "5 methods", or "2 methods in 12 settings"."""
    methods = len({results.adapter(method) for method in results.methods})
    settings = len(results.methods)
    return f"{methods} method{'s' * (methods != 1)}" + (
        f" in {settings} settings" if settings > methods else ""
    )


def counted(words: list[str]) -> str:
    """Such as "4 ok, 2 not run": what went well first, then the commonest."""
    counts = sorted(Counter(words).items(), key=lambda item: (item[0] != "ok", -item[1], item[0]))
    return ", ".join(f"{number} {word}" for word, number in counts)


def as_html(table: Table) -> dict:
    """A table as the template wants it: texts beside the numbers they are sorted by."""
    rows = []
    for row, texts in table.texts():
        cells = []
        for text, cell, column in zip(texts, row.cells, table.columns, strict=True):
            number, _, spread = text.partition(" ") if cell.mean is not None else (text, "", "")
            kind = "number" if cell.mean is not None else "word" if cell.word and column.quantity else "plain"
            marks = table.marks(cell.notes)
            cells.append(
                {
                    "kind": kind,
                    "number": number,
                    "spread": spread,
                    "sort": cell.mean,
                    "bold": cell.bold,
                    "marks": marks,
                }
            )
        rows.append({"title": row.title, "marks": table.marks(row.notes), "cells": cells})
    return {"table": table, "headings": table.headings(), "rows": rows, "footnotes": table.footnotes()}


def figures(results: Results) -> list[dict]:
    """What `analysis.figures` wrote, each drawing as a data URL."""
    captions = results.folder / "figures" / "captions.json"
    try:
        listed = json.loads(captions.read_text(encoding="utf-8"))
        for figure in listed:
            if figure["drawn"]:
                image = (captions.parent / f"{figure['name']}.svg").read_bytes()
                figure["data"] = "data:image/svg+xml;base64," + base64.b64encode(image).decode()
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise InputError(
            f"{captions} or a figure it names cannot be read ({error}); "
            f"run `python -m analysis.figures {results.folder}` first"
        ) from None
    return listed


def differences(results: Results) -> list[str]:
    """What keeps these numbers from being the paper's, in sentences, from what the configuration says."""
    config = results.config
    path = config.get("model", {}).get("path")
    said = []
    if model_of(config) is None:
        model = f"from {path}" if path else "made and pre-trained by the pipeline"
        said.append(
            f"The model is {model}. No published number is about it, so none stands in the tables: "
            "compare the methods with each other, not with the paper."
        )
    generated = sorted(
        n for n, s in config.get("data", {}).get("sources", {}).items() if s.get("path") == "generated"
    )
    if generated:
        said.append(
            f"The data of {', '.join(generated)} come from seeded generators in the shape of the real sets."
        )
    if config.get("device") == "cpu":
        said.append(
            "It ran on a CPU: memory is that of live tensors and of the process, not of a GPU, "
            "and times say nothing about one."
        )
    judge = (config["tasks"].get("mt_bench") or {}).get("judge")
    if "mt_bench" in config["tasks"] and judge is None:
        said.append("MT-Bench was not scored: the configuration names no judge.")
    elif judge and judge["name"] == "checker":
        said.append(
            "MT-Bench answers were checked by a program against known answers; the paper's judge is GPT-4. "
            "The two scales have nothing but their ends in common."
        )
    limits = [
        f"{task} {settings['limit']}" for task, settings in config["tasks"].items() if settings.get("limit")
    ]
    if limits:
        said.append(f"Only the first questions were asked ({', '.join(limits)}), which widens every error.")
    said.append(
        f"Seeds: {', '.join(map(str, config['seeds']))}. The paper's are not known, nor its number "
        "of chunks, steps per chunk or learning rates."
    )
    said.append("ChunkFT was written from the description of the method; no code of its authors was used.")
    return said


def provenance(results: Results) -> list[tuple[str, list[str]]]:
    """(what, its values) over all result files: one value where all agree, more where they do not."""
    files = [file["provenance"] for file in results.files.values()]

    def values(of) -> list[str]:
        return sorted({text for file in files if (text := of(file)) is not None})

    versions = sorted({name for file in files for name in file["versions"]})
    dates = values(lambda file: file["date"])
    return [
        ("commit", values(_commit)),
        ("date, UTC", [f"{dates[0]} to {dates[-1]}"] if dates else []),
        ("processor", values(lambda file: file["hardware"].get("processor"))),
        ("cores", values(lambda file: _text(file["hardware"].get("cores")))),
        ("memory", values(lambda file: _gib(file["hardware"].get("memory")))),
        ("GPU", values(lambda file: ", ".join(file["hardware"].get("gpus") or []) or None)),
        ("driver", values(lambda file: file["hardware"].get("driver"))),
        ("data", values(lambda file: file["data"])),
        ("base model", values(lambda file: file["model"])),
        *(
            (name, found)
            for name in versions
            if (found := values(lambda file, name=name: file["versions"].get(name)))
        ),
    ]


def commits(results: Results, files: list[str]) -> list[str]:
    """The commits that made `files`, each once, in short."""
    found = {_commit(results.files[name]["provenance"], 12) for name in files if name in results.files}
    return sorted(commit for commit in found if commit)


def _commit(provenance: dict, length: int | None = None) -> str | None:
    changed = " with uncommitted changes" if provenance["dirty"] else ""
    return provenance["commit"] and provenance["commit"][:length] + changed


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _gib(count: int | None) -> str | None:
    return None if count is None else f"{count / 2**30:.1f} GiB"


if __name__ == "__main__":
    stage(write, "write report.html from the result files and figures of an experiment")

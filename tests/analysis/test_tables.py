"""What the tables print: numbers, words, footnotes, bold, and published numbers beside ours."""

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic

from analysis import collect, published, tables
from analysis.scores import GROUPS
from analysis.table import Cell, Column, Row, Table, to_csv, to_latex, to_markdown

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """Every outcome once: finished, diverged, out of memory, not installed, crashed, missing, corrupted."""
    settings = synthetic.config(methods=tuple(synthetic.TITLES))
    folder = synthetic.tree(tmp_path, settings)
    synthetic.fail(folder, settings, "full", "out of memory", "the machine ran out of memory")
    synthetic.fail(folder, settings, "galore", "not installed", "pip install galore-torch")
    synthetic.fail(folder, settings, "lora", "diverged", "loss is inf at step 31", seeds=[1])
    synthetic.fail(folder, settings, "badam", "crashed", "KeyError: 'x'")
    shutil.rmtree(folder / "runs/lomo")
    (folder / "runs/chunkft/seed-1/eval/mmlu.json").write_text('{"schema": 1')
    return folder


def table(folder: Path, name: str) -> Table:
    return next(table for table in tables.tables(collect.read(folder)) if table.name == name)


def row(shown: Table, method: str) -> dict[str, Cell]:
    cells = next(row.cells for row in shown.rows if row.method == method)
    return dict(zip((column.key for column in shown.columns), cells, strict=True))


def complete(tmp_path: Path, **config) -> Path:
    return synthetic.tree(tmp_path, synthetic.config(**config))


@pytest.mark.parametrize("name", ["accuracy", "memory", "time"])
def test_golden_markdown(failing: Path, name: str) -> None:
    printed = failing / f"{name}.md"
    printed.write_text(to_markdown(table(failing, name)))
    kept = GOLDEN / f"{name}.md"
    assert printed.read_text() == kept.read_text(), f"if this is what it should be: cp {printed} {kept}"


def test_each_outcome_is_a_word_and_the_rest_is_still_there(failing: Path) -> None:
    accuracy = table(failing, "accuracy")
    words = {method: row(accuracy, method)["gsm8k"].word for method in synthetic.TITLES}
    assert words == {
        "none": None,
        "full": "out of memory",
        "lora": None,
        "galore": "not installed",
        "lomo": "not run",
        "chunkft": None,
        "badam": "crashed",
    }
    assert row(accuracy, "lora")["gsm8k"].n == 1
    assert row(accuracy, "lora")["gsm8k"].notes == ("seed 1: diverged: loss is inf at step 31",)
    assert row(accuracy, "chunkft")["mmlu"].n == 1
    assert "left out" in row(accuracy, "chunkft")["mmlu"].notes[0]
    assert row(accuracy, "none")["validation_loss"] == Cell(notes=("nothing was trained",))


def test_memory_and_time_leave_no_tuning_out_and_say_what_null_is(failing: Path, tmp_path: Path) -> None:
    assert "none" not in {row.method for row in table(failing, "memory").rows}
    time = table(complete(tmp_path / "whole"), "time")
    assert row(time, "lomo")["update_seconds"] == Cell(notes=("update: done inside backward",))


@pytest.mark.parametrize(("seeds", "bold"), [(2, []), (5, []), (6, ["full"])])
def test_bold_needs_a_paired_test(tmp_path: Path, seeds: int, bold: list[str]) -> None:
    accuracy = table(complete(tmp_path, seeds=range(seeds)), "accuracy")
    assert [r.method for r in accuracy.rows if row(accuracy, r.method)["gsm8k"].bold] == bold
    assert ("**" in to_markdown(accuracy).partition("\n")[2]) == bool(bold)


def test_chunkft_place_is_said_when_it_loses_and_when_it_has_none(tmp_path: Path, failing: Path) -> None:
    accuracy = table(complete(tmp_path / "whole"), "accuracy")
    assert "ChunkFT is number 3 of 5 by GSM8K, behind Full fine-tuning and LoRA." in accuracy.remarks[0]
    shutil.rmtree(failing / "runs/chunkft")
    assert "chunkft has no place by peak memory: not run." in table(failing, "memory").remarks[0]
    without = complete(tmp_path / "without", methods=("none", "lora"))
    assert "ChunkFT is not among the methods" in table(without, "memory").remarks[0]


def test_methods_level_with_chunkft_are_named(tmp_path: Path) -> None:
    folder = complete(tmp_path, methods=("lora", "chunkft"))
    lora = json.loads((folder / "runs/lora/measure.json").read_text())
    chunkft = json.loads((folder / "runs/chunkft/measure.json").read_text())
    (folder / "runs/chunkft/measure.json").write_text(json.dumps(chunkft | {"memory": lora["memory"]}))
    assert table(folder, "memory").remarks[0] == "ChunkFT is number 1 of 2 by peak memory, level with LoRA."


def judged(folder: Path, method: str, judge: str | None) -> None:
    for path in folder.glob(f"runs/{method}/seed-*/eval/mt_bench.json"):
        content = json.loads(path.read_text())
        content["evaluation"] = synthetic.evaluation(method, content["seed"], "mt_bench", judge)
        path.write_text(json.dumps(content))


def test_a_checker_and_a_judge_are_never_in_one_column(tmp_path: Path) -> None:
    folder = complete(tmp_path, methods=("lora", "chunkft"))
    judged(folder, "lora", "gpt-4")
    accuracy = table(folder, "accuracy")
    titles = [column.title for column in accuracy.columns if column.key.startswith("mt_bench")]
    assert titles == ["MT-Bench (judge gpt-4)", "MT-Bench (checker)"]
    assert (
        row(accuracy, "lora")["mt_bench"].mean and row(accuracy, "lora")["mt_bench_way_2"].word == "not run"
    )
    assert row(accuracy, "chunkft")["mt_bench"].word == "not run"
    assert "judged by checker" in row(accuracy, "chunkft")["mt_bench"].notes[0]


def test_scores_with_different_settings_are_never_averaged(tmp_path: Path) -> None:
    folder = complete(tmp_path, methods=("lora", "chunkft"))
    path = folder / "runs/lora/seed-1/eval/gsm8k.json"
    content = json.loads(path.read_text())
    content["evaluation"]["num_fewshot"] = 5
    path.write_text(json.dumps(content))
    accuracy = table(folder, "accuracy")
    assert [c.title for c in accuracy.columns][:2] == ["GSM8K, 0-shot", "GSM8K, 5-shot"]
    assert row(accuracy, "lora")["gsm8k"].n == row(accuracy, "lora")["gsm8k_way_2"].n == 1


def test_mt_bench_without_a_judge_is_not_run(tmp_path: Path) -> None:
    folder = complete(tmp_path, methods=("lora",))
    judged(folder, "lora", None)
    cell = row(table(folder, "accuracy"), "lora")["mt_bench"]
    assert (cell.word, cell.mean) == ("not run", None)
    assert "no judge" in cell.notes[0]


def mathematical(tmp_path: Path, tasks: tuple[str, ...], model: str | None = None) -> Path:
    settings = synthetic.config(model=model)
    settings["tasks"] = {task: {"limit": None} for task in tasks}
    return synthetic.tree(tmp_path, settings)


def test_a_group_of_tasks_has_a_table_of_its_own_with_the_average_of_each_seed(tmp_path: Path) -> None:
    folder = mathematical(tmp_path, ("mmlu", "math", "gsm8k", "boolq"))
    shown = {table.name: [c.key for c in table.columns] for table in tables.tables(collect.read(folder))}
    assert shown["accuracy"] == ["mmlu", "gsm8k", "validation_loss"]
    assert shown["math"] == ["gsm8k", "math", "average"]
    assert shown["superglue"] == ["boolq"]
    assert "glue" not in shown
    (folder / "runs/lora/seed-1/eval/math.json").unlink()
    scores = [
        json.loads((folder / f"runs/lora/seed-0/eval/{task}.json").read_text())["evaluation"]["score"]
        for task in ("gsm8k", "math")
    ]
    average = row(table(folder, "math"), "lora")["average"]
    assert (average.mean, average.n) == (pytest.approx(sum(scores) / 2), 1)
    assert average.notes == ("seed 1: not run",)


def test_an_average_is_compared_only_where_it_is_over_as_many_tasks(tmp_path: Path) -> None:
    for name, tasks, words in (
        ("two", GROUPS["math"][:2], "tasks 6 there, 2 here"),
        ("six", GROUPS["math"], ""),
    ):
        folder = mathematical(tmp_path / name, tasks, model="meta-llama/Meta-Llama-3-8B")
        base = row(table(folder, "math"), "none")
        assert base["average_published"].mean == 0.282
        assert words in "".join(base["average_verdict"].notes)
        assert (base["average_verdict"].word == "not comparable") == bool(words)


def test_what_a_table_was_made_from_is_known(tmp_path: Path) -> None:
    folder = complete(tmp_path, methods=("none", "lora"))
    made = {table.name: set(table.files) for table in tables.tables(collect.read(folder))}
    assert made["memory"] == {"runs/lora/measure.json"}
    assert made["accuracy"] == {
        path.relative_to(folder).as_posix() for path in folder.glob("runs/*/seed-*/**/*.json")
    }


def test_of_many_entries_of_chunkft_the_best_has_its_place(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("full", "chunkft"))
    settings["methods"]["chunkft-k8"] = {"method": "chunkft", "lr": 0.002}
    folder = synthetic.tree(tmp_path, settings)
    remark = table(folder, "memory").remarks[0]
    assert remark.startswith("ChunkFT (lr 0.001), the best of 2 settings, is number 1 of 2 by peak memory")


def test_csv_holds_plain_units_and_no_words_among_numbers(failing: Path) -> None:
    found = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table(failing, "memory"))))}
    assert int(found["chunkft"]["weights_bytes"]) == synthetic.MEMORY["chunkft"][0] * 2**20
    assert found["full"]["peak_bytes"] == ""
    assert "peak: out of memory" in found["full"]["notes"]
    found = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table(failing, "accuracy"))))}
    assert found["chunkft"]["gsm8k_n"] == "2" and 0 < float(found["chunkft"]["gsm8k_sd"]) < 1


def test_latex_is_escaped_and_every_row_has_every_column() -> None:
    columns = [Column("a_b", "50 % & more", "fraction"), Column("c", "c", None)]
    rows = [
        Row("m_1", "Method_1", [Cell(0.5, 0.01, 2, bold=True), Cell(word="not run")], ("100 % of #1 {x}",))
    ]
    text = to_latex(Table("t", "T", "A_caption ± 1", columns, rows))
    assert r"\textbf{50.0 $\pm$ 1.0 (2)}" in text
    assert r"Method\_1$^{1}$" in text and r"100 \% of \#1 \{x\}" in text and r"A\_caption $\pm$ 1" in text
    body = re.search(r"\\toprule(.*)\\bottomrule", text, re.DOTALL)[1]
    counts = {len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith(r"\\")}
    assert counts == {len(columns)}
    assert r"\begin{table}" in text and r"\shortstack[r]{50 \% \& more,\\\%}" in text


def test_a_table_wider_than_a_column_takes_both(failing: Path) -> None:
    assert to_latex(table(failing, "time")).startswith(r"\begin{table*}")


def test_latex_compiles(failing: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex with booktabs, and there is none on the PATH")
    made = tables.tables(collect.read(failing))
    long = replace(made[0], name="long", rows=made[0].rows * 7)
    lines = [r"\documentclass{article}", r"\usepackage{booktabs,longtable}", r"\begin{document}"]
    lines += [to_latex(table) for table in (*made, long)] + [r"\end{document}"]
    (failing / "tables.tex").write_text("\n".join(lines))
    ran = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=failing,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Missing character" not in ran.stdout


@pytest.mark.parametrize(
    ("value", "quantity", "text"),
    [
        (1023, "bytes", "1.0"),  # KiB
        (3 * 2**20, "bytes", "3.0"),
        (5 * 2**30, "bytes", "5.00"),
        (0.0213, "seconds", "21.30"),
        (90.0, "seconds", "90.00"),
        (9000.0, "seconds", "2.50"),
        (0.0, "fraction", "0.0"),
        (0, "bytes", "0.0"),
    ],
)
def test_units_follow_the_largest_value(value: float, quantity: str, text: str) -> None:
    shown = Table("t", "T", "", [Column("c", "c", quantity)], [Row("m", "M", [Cell(value)])])
    assert next(shown.texts())[1] == [text]


# --- published numbers ---


def at(folder: Path, method: str, peak: float, **batch) -> None:
    path = folder / f"runs/{method}/measure.json"
    content = json.loads(path.read_text())
    content["batch"] |= {"batch_size": 1, "length": 1024, "precision": "bfloat16"} | batch
    content["memory"]["peak"] = int(peak * 2**30)
    path.write_text(json.dumps(content))


def test_nothing_is_set_beside_a_model_nobody_published_about(tmp_path: Path) -> None:
    columns = table(complete(tmp_path), "memory").columns
    assert not [column.key for column in columns if "published" in column.key]


@pytest.mark.parametrize(
    ("peak", "batch", "verdict"),
    [
        (13.5, {}, "match"),
        (14.5, {}, "differs"),
        (13.72, {"batch_size": 2}, "not comparable"),
        (13.72, {"precision": "float32"}, "not comparable"),
    ],
)
def test_verdicts(tmp_path: Path, peak: float, batch: dict, verdict: str) -> None:
    folder = complete(tmp_path, model="meta-llama/Llama-2-7b-hf")
    at(folder, "chunkft", peak, **batch)
    cells = row(table(folder, "memory"), "chunkft")
    assert cells["peak_bytes_published"].mean == 13.72 * 2**30
    assert cells["peak_bytes_verdict"].word == verdict
    assert (cells["peak_bytes_difference"].mean is None) == (verdict == "not comparable")
    assert cells["peak_bytes_published"].notes[0].startswith("P: ")


def test_the_published_number_made_under_our_conditions_is_taken(tmp_path: Path) -> None:
    folder = complete(tmp_path, methods=tuple(synthetic.TITLES), model="somewhere/Llama-2-7b-hf")
    at(folder, "badam", 20.3, batch_size=8, length=728, checkpointing=True)
    cells = row(table(folder, "memory"), "badam")
    assert cells["peak_bytes_published"].mean == 21.8e9
    assert cells["peak_bytes_verdict"].word == "match"


def test_a_published_number_stands_beside_the_entry_it_is_about(tmp_path: Path) -> None:
    settings = synthetic.config(model="meta-llama/Llama-2-7b-hf")
    more = {"lora-r100": "lora", "full-pure": "full", "chunkft-k32": "chunkft"}
    settings["methods"] |= {entry: {"method": method, "lr": 0.001} for entry, method in more.items()}
    folder = synthetic.tree(tmp_path, settings)
    for method in ("lora", "lora-r100"):
        at(folder, method, 20.0, batch_size=8, length=728, checkpointing=True)
    memory = table(folder, "memory")
    shown = ("lora", "lora-r100", "full-pure", "chunkft-k32")
    found = {method: row(memory, method)["peak_bytes_published"].mean for method in shown}
    # no K was published, so ChunkFT's number is about every K
    assert found == {
        "lora": 20.1e9,
        "lora-r100": 22.1e9,
        "full-pure": None,
        "chunkft-k32": 13.72 * 2**30,
    }


def test_an_unknown_published_number_is_a_dash_and_a_failed_run_is_not_compared(tmp_path: Path) -> None:
    settings = synthetic.config(model="meta-llama/Llama-2-7b-hf")
    folder = synthetic.tree(tmp_path, settings)
    synthetic.fail(folder, settings, "chunkft", "out of memory", "24 GiB are full")
    memory = table(folder, "memory")
    assert row(memory, "galore")["peak_bytes_published"].mean is None
    assert "not published" in row(memory, "galore")["peak_bytes_published"].notes[0]
    assert row(memory, "chunkft")["peak_bytes_verdict"].word == "not comparable"


def test_published_scores_by_gpt4_never_stand_beside_a_checker(tmp_path: Path) -> None:
    folder = complete(tmp_path, model="meta-llama/Llama-2-7b-hf")
    assert "mt_bench_published" not in {column.key for column in table(folder, "accuracy").columns}
    for method in synthetic.TITLES:
        judged(folder, method, "gpt-4")
    cells = row(table(folder, "accuracy"), "lora")
    assert cells["mt_bench_published"].mean == 4.54
    assert cells["mt_bench_verdict"].word == "not comparable"  # other data, other epochs


def test_published_facts_are_well_formed() -> None:
    facts = published.facts()
    for entry in facts["entries"]:
        assert entry["source"] in facts["sources"] and entry["model"] in facts["models"]
        assert entry["unit"] in published.UNITS and entry["table"] in facts["tolerance"]
        assert all(value is None or value > 0 for value in entry["values"].values())
        assert published.tolerance(entry["table"], entry["unit"], 1.0) > 0

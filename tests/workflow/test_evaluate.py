"""One process evaluates a run on every task; its numbers are lm-eval's own."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas
import pytest
import yaml
from lm_eval.utils import sanitize_list

from workflow.steps import evaluate, lm_evaluation
from workflow.steps.files import InputError, read_json, read_jsonl, write_json, write_jsonl

SUBJECTS = ("abstract_algebra", "anatomy", "philosophy")  # two of one category and one of another
SCHEMA = Path(evaluate.__file__).parents[1] / "schemas" / "result.schema.json"
TASKS = {
    "gsm8k": {"num_fewshot": 1, "limit": 6, "batch_size": 4, "max_new_tokens": 24},
    "mmlu": {"num_fewshot": 1, "limit": 5, "batch_size": 4},
    "mt_bench": {
        "template": "oasst_pythia",
        "batch_size": 4,
        "max_new_tokens": 8,
        "judge": {"name": "checker"},
    },
}


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """An experiment's folder; what is kept between starts lies beside it."""
    folder = tmp_path / "made"
    folder.mkdir()
    return folder


def experiment(folder: Path, questions: list[dict], tasks: dict) -> dict:
    """An experiment with made-up data for every task; its resolved config."""
    problems = [{"question": f"{n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(8)]
    choices = [
        {"question": f"{n} + 1?", "subject": subject, "choices": [str(n), str(n + 1), "9", "0"], "answer": 1}
        for subject in ("anatomy", "made_up_subject")
        for n in range(6)
    ]
    for task, splits in {
        "gsm8k": {"train": problems, "test": problems},
        "mmlu": {"dev": choices, "test": choices},
        "mt_bench": {"test": questions},
    }.items():
        for split, rows in splits.items():
            write_jsonl(folder / "data" / task / f"{split}.jsonl", rows)
    return {
        "name": folder.name,
        "device": "cpu",
        "threads": 1,
        "model": {"path": None},
        "data": {"sources": {task: {} for task in tasks}},
        "train": {"data": {}, "template": "oasst_pythia", "head": "language"},
        "tasks": tasks,
        "methods": {"none": {"method": "none"}},
    }


def trained(folder: Path, **content: object) -> Path:
    """The folder to evaluate into, beside a training result with this content."""
    run = folder / "runs" / "none" / "seed-0"
    write_json(run / "train.json", {"status": "ok", "reason": None, "run_id": "run", **content})
    return run / "eval"


def test_every_task_gets_a_result_and_its_samples_and_the_same_ones_again(
    tiny_model, questions, tmp_path
) -> None:
    config = experiment(tmp_path, questions, TASKS)
    out = trained(tmp_path, model_path=str(tiny_model))
    evaluate.evaluate(tmp_path, config, "none", 0, out)
    results = {task: read_json(out / f"{task}.json") for task in TASKS}
    for task, result in results.items():
        jsonschema.validate(result, read_json(SCHEMA))
        assert (result["status"], result["evaluation"]["task"]) == ("ok", task)
    found = {task: result["evaluation"] for task, result in results.items()}
    assert {task: evaluation["n"] for task, evaluation in found.items()} == {
        "gsm8k": 6,
        "mmlu": 10,
        "mt_bench": 6,
    }
    assert found["gsm8k"]["metric"] == "exact_match,flexible-extract"
    assert {"exact_match,strict-match", "exact_match_stderr,strict-match"} < set(found["gsm8k"]["scores"])
    both = [found["mmlu"]["scores"][f"mmlu_{subject}/acc,none"] for subject in ("anatomy", "made_up_subject")]
    assert found["mmlu"]["score"] == sum(both) / 2 and "mmlu_stem/acc,none" in found["mmlu"]["scores"]
    assert found["mt_bench"]["judge"] == "checker" and 1 <= found["mt_bench"]["score"] <= 10
    samples = {task: (out / f"{task}.samples.jsonl").read_text() for task in TASKS}
    assert [len(samples[task].splitlines()) for task in TASKS] == [
        2 * 6,
        10,
        2 * 6,
    ]  # GSM8K: once for each filter

    evaluate.evaluate(tmp_path, config, "none", 0, out)
    for task, evaluation in found.items():
        again = read_json(out / f"{task}.json")["evaluation"]
        assert {**again, "seconds": 0} == {**evaluation, "seconds": 0}
        assert (out / f"{task}.samples.jsonl").read_text() == samples[task]


@pytest.mark.parametrize("status", ["diverged", "out of memory", "not installed", "not supported", "crashed"])
def test_a_run_without_a_model_passes_its_status_on(questions, tmp_path: Path, status: str) -> None:
    config = experiment(tmp_path, questions, TASKS)
    out = trained(tmp_path, status=status, reason="because")
    evaluate.evaluate(tmp_path, config, "none", 0, out)
    for task in TASKS:
        result = read_json(out / f"{task}.json")
        jsonschema.validate(result, read_json(SCHEMA))
        assert (result["kind"], result["status"], result["reason"]) == ("evaluate", status, "because")
        assert (out / f"{task}.samples.jsonl").read_text() == ""


def test_one_tasks_failure_leaves_the_others(tiny_model, questions, tmp_path: Path, monkeypatch) -> None:
    config = experiment(tmp_path, questions, TASKS)
    out = trained(tmp_path, model_path=str(tiny_model))
    (tmp_path / "data/gsm8k/train.jsonl").unlink()

    def exhausted(data: Path) -> None:
        raise MemoryError("no room")

    monkeypatch.setitem(lm_evaluation.TASKS, "mmlu", exhausted)
    evaluate.evaluate(tmp_path, config, "none", 0, out)
    results = {task: read_json(out / f"{task}.json") for task in TASKS}
    assert results["gsm8k"]["status"] == "crashed" and "train.jsonl is missing" in results["gsm8k"]["reason"]
    assert (results["mmlu"]["status"], results["mmlu"]["reason"]) == ("out of memory", "no room")
    assert results["mt_bench"]["status"] == "ok"


def test_a_killed_evaluation_asks_only_for_what_is_missing(
    tiny_model, questions, tmp_path: Path, monkeypatch
) -> None:
    """Snakemake deletes the outputs of a killed job; what was finished comes back all the same."""
    config = experiment(tmp_path, questions, TASKS)
    out = trained(tmp_path, model_path=str(tiny_model))
    real, asked = lm_evaluation.evaluation, []

    def evaluation(lm: object, task: str, *rest: object) -> tuple:
        if task == "mmlu" and "mmlu" not in asked:
            asked.append(task)
            raise KeyboardInterrupt
        asked.append(task)
        return real(lm, task, *rest)

    monkeypatch.setattr(lm_evaluation, "evaluation", evaluation)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(tmp_path, config, "none", 0, out)
    first = read_json(out / "gsm8k.json")["evaluation"]
    for path in out.iterdir():
        path.unlink()
    evaluate.evaluate(tmp_path, config, "none", 0, out)
    assert asked == ["gsm8k", "mmlu", "mmlu"]
    assert read_json(out / "gsm8k.json")["evaluation"] == first  # its seconds too
    assert len(list(read_jsonl(out / "gsm8k.samples.jsonl"))) == 2 * 6
    assert not list((tmp_path.parent / ".state").iterdir())


def test_another_training_is_evaluated_anew(tiny_model, questions, tmp_path: Path, monkeypatch) -> None:
    config = experiment(tmp_path, questions, {"gsm8k": TASKS["gsm8k"], "mmlu": TASKS["mmlu"]})
    real, asked = lm_evaluation.evaluation, []

    def evaluation(lm: object, task: str, *rest: object) -> tuple:
        asked.append(task)
        if task == "mmlu":
            raise InputError("not today")
        return real(lm, task, *rest)

    monkeypatch.setattr(lm_evaluation, "evaluation", evaluation)
    for run, expected in (("one", ["gsm8k", "mmlu"]), ("one", ["mmlu"]), ("two", ["gsm8k", "mmlu"])):
        asked.clear()
        out = trained(tmp_path, model_path=str(tiny_model), run_id=run)
        evaluate.evaluate(tmp_path, config, "none", 0, out)
        assert asked == expected


def test_without_a_judge_mt_bench_says_so(tiny_model, questions, tmp_path: Path) -> None:
    tasks = {"mt_bench": {**TASKS["mt_bench"], "judge": None}}
    out = trained(tmp_path, model_path=str(tiny_model))
    evaluate.evaluate(tmp_path, experiment(tmp_path, questions, tasks), "none", 0, out)
    result = read_json(out / "mt_bench.json")
    jsonschema.validate(result, read_json(SCHEMA))
    assert (result["status"], result["reason"]) == ("ok", "no judge configured")
    assert result["evaluation"]["score"] is None and result["evaluation"]["judge"] is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"template": "llama-3"}, "no text template 'llama-3'"),
        ({"judge": {"name": "gpt-4"}}, r"judge\.prompts: give the path"),
    ],
)
def test_bad_settings_are_refused_before_the_model_is_loaded(
    questions, tmp_path, change: dict, sentence: str
) -> None:
    config = experiment(tmp_path, questions, {"mt_bench": {**TASKS["mt_bench"], **change}})
    with pytest.raises(InputError, match=sentence):
        evaluate.evaluate(tmp_path, config, "none", 0, trained(tmp_path, model_path="nowhere"))


def test_a_run_whose_model_is_gone_is_named(questions, tmp_path: Path) -> None:
    config = experiment(tmp_path, questions, {"gsm8k": TASKS["gsm8k"]})
    with pytest.raises(InputError, match=r"seed-0/model holds no model"):
        evaluate.evaluate(tmp_path, config, "none", 0, trained(tmp_path))


def real_data(data_root: Path, folder: Path) -> None:
    """GSM8K, and three subjects of MMLU, as the data step writes them."""
    for split in ("train", "test"):
        (folder / "gsm8k").mkdir(parents=True, exist_ok=True)
        packed = data_root / "data" / "gsm8k" / f"{split}.jsonl.gz"
        (folder / "gsm8k" / f"{split}.jsonl").write_bytes(gzip.decompress(packed.read_bytes()))
    for split in ("dev", "test"):
        rows = pandas.read_parquet(data_root / "data" / "mmlu" / f"{split}.parquet")
        rows = rows[rows["subject"].isin(SUBJECTS)]
        kept = [{**row, "choices": list(row["choices"])} for row in rows.to_dict("records")]
        write_jsonl(folder / "mmlu" / f"{split}.jsonl", kept)


def definitions(data: Path, folder: Path) -> None:
    """lm-eval's stock definitions with local files, as a user of its command line would write them."""

    def write(name: str, stock: str, files: dict[str, Path]) -> None:
        local = {
            "include": str(lm_evaluation.STOCK / stock),
            "task": name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {split: str(file) for split, file in files.items()}},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(local))

    folder.mkdir()
    problems = {split: data / f"gsm8k/{split}.jsonl" for split in ("train", "test")}
    write("local_gsm8k", "gsm8k/gsm8k.yaml", problems)
    write("local_gsm8k_cot", "gsm8k/gsm8k-cot.yaml", {"test": problems["test"]})
    for subject in SUBJECTS:
        files = {split: folder / f"{subject}-{split}.jsonl" for split in ("dev", "test")}
        for split, file in files.items():
            write_jsonl(
                file, [row for row in read_jsonl(data / f"mmlu/{split}.jsonl") if row["subject"] == subject]
            )
        write(f"local_mmlu_{subject}", f"mmlu/default/mmlu_{subject}.yaml", files)
    group = {
        "group": "local_mmlu",
        "task": [f"local_mmlu_{subject}" for subject in SUBJECTS],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    (folder / "local_mmlu.yaml").write_text(yaml.safe_dump(group))


def test_lm_evals_command_line_gives_the_same_numbers_to_the_last_digit(
    data_root: Path, tmp_path: Path
) -> None:
    """Real questions and a real model: scores, standard errors, and every answer and likelihood."""
    model = data_root / "models" / "stories260K"
    data, out = tmp_path / "data", tmp_path / "out"
    real_data(data_root, data)
    definitions(data, tmp_path / "tasks")
    shots, limit, batch_size, new_tokens = 1, 5, 4, 24
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model}"),
        *("--tasks", "local_gsm8k,local_gsm8k_cot,local_mmlu", "--include_path", str(tmp_path / "tasks")),
        *("--device", "cpu", "--num_fewshot", str(shots), "--limit", str(limit)),
        *("--batch_size", str(batch_size)),
        *("--gen_kwargs", f"max_gen_toks={new_tokens}", "--output_path", str(out), "--log_samples"),
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env={**os.environ, **offline}, check=True, capture_output=True)
    theirs = json.loads(next(out.rglob("results_*.json")).read_text())["results"]

    lm = lm_evaluation.wrap(*evaluate.load(model, "cpu"))
    settings = {"num_fewshot": shots, "limit": limit, "batch_size": batch_size, "max_new_tokens": new_tokens}
    leaves = {task: [task] for task in ("gsm8k", "gsm8k_cot")}
    for task, parts in {**leaves, "mmlu": [f"mmlu_{subject}" for subject in SUBJECTS]}.items():
        ours, samples = lm_evaluation.evaluation(lm, task, settings, data / task.removesuffix("_cot"))
        for part in {task, *parts}:
            expected = {name: value for name, value in theirs[f"local_{part}"].items() if "," in name}
            prefix = "" if part == task else f"{part}/"
            assert {name: ours["scores"][prefix + name] for name in expected} == expected
            assert len(expected) == (2 if task == "mmlu" else 4)  # scores and their standard errors
        files = [file for part in parts for file in out.rglob(f"samples_local_{part}_[0-9]*.jsonl")]
        logged = [row for file in files for row in read_jsonl(file)]
        assert said(json.loads(json.dumps(samples))) == said(logged)
        assert len(logged) == limit * (len(SUBJECTS) if task == "mmlu" else 2)


def said(samples: list[dict]) -> dict:
    """Each question's replies (a generated text, or likelihoods), by question and filter."""
    return {
        (row["prompt_hash"], row["target_hash"], row["filter"]): sanitize_list(
            [row["resps"], row["filtered_resps"]]
        )
        for row in samples
    }

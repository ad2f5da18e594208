"""The whole pipeline, from an empty folder to the report, on an experiment of seconds.

It runs on a copy of the checkout with four methods added: one that works, one
that diverges, one that crashes and one whose package is missing.  Adding them
touches nothing but `baselines/`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("chunkft", "baselines", "workflow", "analysis", "profiles", "Snakefile")
SHIPPED = [
    path
    for path in sorted((ROOT / "workflow/config").glob("*.yaml"))
    if path.stem not in ("defaults", "cost")
]
FILES = ("requirements.txt", "environment.yml", "CITATION.cff")

TINY = """
name: tiny
seeds: [0, 1]
model:
  architecture:
    {vocab_size: 400, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2}
  pretrain: {texts: 200, steps: 10, batch_size: 4, length: 32, threads: 1}
data:
  validation: 4
  sources:
    gsm8k: {path: generated, rows: {train: 40, test: 4}}
    mmlu: {path: generated, rows: {train: 40, dev: 4, test: 8}}
    mt_bench: {path: generated, rows: {train: 40, test: 4}}
train:
  data: {gsm8k: 20, mmlu: 20, mt_bench: 20}
  steps: 6
  batch_size: 4
  max_length: 96
  template: oasst_pythia
tasks:
  gsm8k: {num_fewshot: 0, batch_size: 4, max_new_tokens: 4}
  mmlu: {num_fewshot: 0, batch_size: 4}
  mt_bench: {template: oasst_pythia, batch_size: 4, max_new_tokens: 4, judge: {name: checker}}
measure: {warmup: 1, steps: 2}
methods: [none, toy, diverging, crashing, absent]
settings:
  none: {}
  full: {lr: 1.0e-3}
  toy: {lr: 1.0e-3}
  diverging: {lr: 1.0e-3}
  crashing: {lr: 1.0e-3}
  absent: {lr: 1.0e-3}
"""

METHOD = '''
"""A method of this test."""
from baselines import Tuning

TITLE, PAPER, PARAMETERS, REQUIRES, NOTES, RESUMES = "{title}", "none", {{}}, {requires}, (), True


def supports(run):
    return None


def build(model, run):
    import torch

    {body}
    return Tuning(model, torch.optim.SGD(model.parameters(), lr=run.lr))


def export(model):
    return model
'''


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    for part in (*PARTS, *FILES):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    bodies = {
        "toy": ("()", "pass"),
        "diverging": ("()", "torch.nn.init.constant_(model.lm_head.weight, float('nan'))"),
        "crashing": ("()", "raise RuntimeError('this method has a bug')"),
        "absent": ("('no-such-package',)", "pass"),
    }
    for name, (requires, body) in bodies.items():
        text = METHOD.format(title=name.title(), requires=requires, body=body)
        (folder / "baselines" / f"{name}.py").write_text(text)
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def snakemake(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "tiny.yaml", *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


def planned(checkout: Path, *arguments: str) -> set[str]:
    """The result files and stages that a dry run would make again."""
    finished = snakemake(checkout, "--summary", *arguments)
    assert finished.returncode == 0, finished.stderr
    rows = [line.split("\t") for line in finished.stdout.splitlines() if "\t" in line]
    plan, name = rows[0].index("plan"), rows[0].index("output_file")
    return {row[name].removeprefix("results/tiny/") for row in rows[1:] if row[plan] != "no update"}


def status(checkout: Path, run: str) -> tuple[str, str | None]:
    record = json.loads((checkout / "results" / "tiny" / "runs" / run).read_text())
    return record["status"], record["reason"]


@pytest.fixture(scope="module")
def finished(checkout: Path) -> subprocess.CompletedProcess[str]:
    return snakemake(checkout)


def test_the_tables_are_made_although_methods_failed(checkout: Path, finished) -> None:
    results = checkout / "results" / "tiny"
    for table in ("memory", "time", "accuracy"):
        for kind in ("csv", "md", "tex"):
            assert (results / "tables" / f"{table}.{kind}").stat().st_size, finished.stderr
    accuracy = (results / "tables" / "accuracy.md").read_text()
    for word in ("Toy", "diverged", "crashed", "not installed"):
        assert word in accuracy
    assert (results / "report.html").stat().st_size
    assert any((results / "figures").iterdir())


def test_each_outcome_is_a_result_with_its_reason(checkout: Path, finished) -> None:
    assert status(checkout, "toy/seed-0/train.json") == ("ok", None)
    assert status(checkout, "diverging/seed-1/train.json") == ("diverged", "the loss is nan")
    assert status(checkout, "absent/seed-0/eval/mmlu.json") == (
        "not installed",
        "pip install no-such-package",
    )
    assert status(checkout, "crashing/seed-0/train.crashed") == (
        "crashed",
        "RuntimeError: this method has a bug",
    )


def test_a_crash_fails_the_command_after_everything_else_is_made(checkout: Path, finished) -> None:
    assert finished.returncode != 0
    assert "results crashed" in finished.stderr + finished.stdout
    assert not (checkout / "results" / "tiny" / "status.txt").exists()


def test_a_crash_is_tried_again_and_nothing_else_is(checkout: Path, finished) -> None:
    trained = {name for name in planned(checkout) if name.endswith("train.json")}
    assert trained == {"runs/crashing/seed-0/train.json", "runs/crashing/seed-1/train.json"}


def test_the_base_model_is_evaluated_once_and_each_method_once_a_seed(checkout: Path, finished) -> None:
    results = checkout / "results" / "tiny"
    jobs = {path.stem for path in results.glob("logs/evaluate/*.log")}
    methods = ("toy", "diverging", "crashing", "absent")
    assert jobs == {"none-0", *(f"{method}-{seed}" for method in methods for seed in (0, 1))}
    records = {path.parent: json.loads(path.read_text()) for path in results.glob("runs/*/*/train.json")}
    base = [folder for folder, record in records.items() if "model_path" in record]
    assert base == [results / "runs" / "none" / "seed-0"]  # no other run's evaluation is of the base model


def test_every_result_file_is_valid_and_says_where_it_comes_from(checkout: Path, finished) -> None:
    import jsonschema

    schema = json.loads((ROOT / "workflow" / "schemas" / "result.schema.json").read_text())
    runs = [path for path in checkout.glob("results/tiny/runs/*/seed-*/**/*") if path.is_file()]
    files = [path for path in runs if path.suffix in (".json", ".crashed") and "model" not in path.parts]
    assert len(files) == 9 + 27
    for path in files:
        record = json.loads(path.read_text())
        jsonschema.validate(record, schema)
        assert record["provenance"]["data"] and record["provenance"]["model"]
        assert record["provenance"]["command"].startswith("python -m workflow.steps.")


@pytest.fixture(scope="module")
def repaired(checkout: Path, finished) -> Path:
    """The crash mended, the rest run to the end."""
    path = checkout / "baselines" / "crashing.py"
    path.write_text(path.read_text().replace("raise RuntimeError('this method has a bug')", "pass"))
    again = snakemake(checkout)
    assert again.returncode == 0, again.stderr
    return checkout


def test_a_finished_experiment_has_nothing_to_do(repaired: Path) -> None:
    assert planned(repaired) == set()


def test_another_rate_redoes_that_method_only(repaired: Path) -> None:
    changed = planned(repaired, "--config", "settings={toy: {lr: 0.01}}")
    assert {name.split("/")[1] for name in changed if name.startswith("runs/")} == {"toy"}
    assert {"results.csv", "report.html"} <= changed


def test_another_method_redoes_nothing_else(repaired: Path) -> None:
    more = planned(repaired, "--config", "methods=[none, toy, diverging, crashing, absent, full]")
    assert {name.split("/")[1] for name in more if name.startswith("runs/")} == {"full"}


def test_results_of_another_config_are_refused(repaired: Path) -> None:
    refused = snakemake(repaired, "--config", "data={seed: 9}")
    assert refused.returncode != 0
    assert "`data.seed` was 0, is now 9" in refused.stderr


@pytest.mark.parametrize(
    ("override", "expected"),
    [("train={stesp: 3}", "did you mean `steps`"), ("settings={toy: {lr: 1e-5}}", "write 1.0e-5")],
)
def test_a_bad_config_is_one_sentence_and_nothing_runs(repaired: Path, override: str, expected: str) -> None:
    refused = snakemake(repaired, "--config", override)
    assert refused.returncode != 0
    assert expected in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_configs_dry_run(checkout: Path, config: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--dry-run", "--configfile", str(config)]
    finished = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "report" in finished.stdout


def step(checkout: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        *arguments,
        "--config",
        "results/tiny/config.json",
        "--method",
        "toy",
        "--seed",
        "7",
    ]


def test_a_killed_run_goes_on_where_it_was(repaired: Path) -> None:
    config_path = repaired / "results" / "tiny" / "config.json"
    original = config_path.read_text()
    config = json.loads(original)
    config["train"].update(save_every=5, log_every=10)
    config["methods"]["toy"]["steps"] = 60  # in place of train.steps
    config_path.write_text(json.dumps(config))
    try:
        whole = step(repaired, "workflow.steps.train") + ["--out", "killed/whole"]
        subprocess.run(whole, cwd=repaired, check=True, capture_output=True)
        command = step(repaired, "workflow.steps.train") + ["--out", "killed/parts"]
        running = subprocess.Popen(command, cwd=repaired, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not list(repaired.glob("results/.state/*/step-*.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (repaired / "killed" / "parts" / "train.json").exists()
        again = subprocess.run(command, cwd=repaired, check=True, capture_output=True, text=True)
        assert "starts at step" in again.stderr
        records = [
            json.loads((repaired / "killed" / run / "train.json").read_text()) for run in ("whole", "parts")
        ]
        curves = [record["training"]["curve"] for record in records]
        assert curves[0]["loss"] == curves[1]["loss"]
        assert curves[0]["step"] == [10, 20, 30, 40, 50, 60]
        weights = [
            (repaired / "killed" / run / "model" / "model.safetensors").read_bytes()
            for run in ("whole", "parts")
        ]
        assert weights[0] == weights[1]
        assert not list(repaired.glob("results/.state/*/step-*"))
    finally:
        config_path.write_text(original)

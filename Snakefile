"""Trains ChunkFT and its rivals, evaluates them, and makes the tables, figures and report.

snakemake --cores all                                            # the embedded experiment, mini
snakemake --cores all --configfile workflow/config/small.yaml    # another one
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from baselines import methods, trains
from workflow.steps.configuration import check_machine, check_results, from_command_line, load
from workflow.steps.files import InputError, write_json
from workflow.steps.fingerprint import fingerprint

min_version("9.0")
shell.prefix(
    f"export PYTHONPATH={workflow.basedir} TRANSFORMERS_VERBOSITY=error"
    " HF_HUB_DISABLE_PROGRESS_BARS=1 TOKENIZERS_PARALLELISM=false; "
)

CONFIGS = workflow.configfiles or [Path(workflow.basedir, "workflow/config/mini.yaml")]
OVERRIDES = from_command_line(workflow.config_settings.config)  # the values after --config
try:
    EXPERIMENT = load(CONFIGS, OVERRIDES)
    OUT, CONFIG = f"results/{EXPERIMENT['name']}", f"results/{EXPERIMENT['name']}/config.json"
    check_results(EXPERIMENT, Path(CONFIG))
except InputError as error:
    raise WorkflowError(str(error)) from None

TRAINED = [name for name, settings in EXPERIMENT["methods"].items() if trains(methods()[settings["method"]])]
SEEDS = {name: EXPERIMENT["seeds"] if name in TRAINED else [0] for name in EXPERIMENT["methods"]}
RUNS = [f"{OUT}/runs/{name}/seed-{seed}" for name, seeds in SEEDS.items() for seed in seeds]
MEASURED = EXPERIMENT["methods"] if EXPERIMENT["measure"] else []


# Not a rule: a job that other jobs read from, even as ancient(), hides what has changed for them.
onstart:
    try:
        check_machine(EXPERIMENT)
    except InputError as error:
        raise WorkflowError(str(error)) from None
    write_json(Path(CONFIG), EXPERIMENT)


for part in ("prepare", "train", "report", "cost"):

    include: f"workflow/rules/{part}.smk"


rule all:
    default_target: True
    input:
        f"{OUT}/report.html",
        f"{OUT}/status.txt",

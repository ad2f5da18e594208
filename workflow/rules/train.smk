GPUS = 1 if EXPERIMENT["device"] == "cuda" else 0


rule train:
    input:
        manifest=rules.data.output,
        checked=ancient(rules.check.output),
        base=rules.base.output,
    output:
        f"{OUT}/runs/{{method}}/seed-{{seed}}/train.json",
    log:
        f"{OUT}/logs/train/{{method}}-{{seed}}.log",
    wildcard_constraints:
        method="[^/]+",
        seed=r"\d+",
    conda:
        "../../environment.yml"
    threads: EXPERIMENT["threads"]
    resources:
        gpu=GPUS,
    params:
        config=CONFIG,
        fingerprint=lambda w: fingerprint(EXPERIMENT, "train", w.method, int(w.seed)),
        out=subpath(output[0], parent=True),
    shell:
        "(python -m workflow.steps.train --config {params.config} --method {wildcards.method} --seed {wildcards.seed}"
        " --out {params.out}"
        " || python -m workflow.steps.crashed --config {params.config} --method {wildcards.method}"
        " --seed {wildcards.seed} --kind train --out {params.out} --code $?) 2>&1 | tee {log}"


if EXPERIMENT["tasks"]:

    rule evaluate:
        input:
            train=rules.train.output,
        output:
            expand(
                f"{OUT}/runs/{{{{method}}}}/seed-{{{{seed}}}}/eval/{{task}}.json", task=EXPERIMENT["tasks"]
            ),
        log:
            f"{OUT}/logs/evaluate/{{method}}-{{seed}}.log",
        wildcard_constraints:
            method="[^/]+",
            seed=r"\d+",
        conda:
            "../../environment.yml"
        threads: EXPERIMENT["threads"]
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
            fingerprint=lambda w: fingerprint(EXPERIMENT, "evaluate", w.method, int(w.seed)),
            out=subpath(output[0], parent=True),
        shell:
            "(python -m workflow.steps.evaluate --config {params.config} --method {wildcards.method}"
            " --seed {wildcards.seed} --out {params.out}"
            " || python -m workflow.steps.crashed --config {params.config} --method {wildcards.method}"
            " --seed {wildcards.seed} --kind evaluate --out {params.out} --code $?) 2>&1 | tee {log}"


# Takes every core, so that nothing else runs while the clock does.
rule measure:
    input:
        base=rules.base.output,
    output:
        f"{OUT}/runs/{{method}}/measure.json",
    log:
        f"{OUT}/logs/measure/{{method}}.log",
    wildcard_constraints:
        method="[^/]+",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        config=CONFIG,
        fingerprint=lambda w: fingerprint(EXPERIMENT, "measure", w.method),
        out=subpath(output[0], parent=True),
        threads=EXPERIMENT["threads"],
    shell:
        "export OMP_NUM_THREADS={params.threads};"
        " (python -m workflow.steps.measure --config {params.config} --method {wildcards.method} --out {output}"
        " || python -m workflow.steps.crashed --config {params.config} --method {wildcards.method}"
        " --kind measure --out {params.out} --code $?) 2>&1 | tee {log}"

rule data:
    output:
        f"{OUT}/data/manifest.json",
    log:
        f"{OUT}/logs/data.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
        fingerprint=fingerprint(EXPERIMENT, "data"),
        out=subpath(output[0], parent=True),
    shell:
        "python -m workflow.steps.data --config {params.config} --out {params.out} 2>&1 | tee {log}"


rule check:
    input:
        manifest=rules.data.output,
    output:
        f"{OUT}/data/checked.txt",
    log:
        f"{OUT}/logs/check.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
        tasks=EXPERIMENT["tasks"],
        data=lambda w, input: Path(input.manifest[0]).parent,
    shell:
        "python -m workflow.steps.check --config {params.config} --data {params.data} --out {output} 2>&1 | tee {log}"


rule base:
    input:
        manifest=rules.data.output,
    output:
        f"{OUT}/base/base.json",
    log:
        f"{OUT}/logs/base.log",
    conda:
        "../../environment.yml"
    threads: EXPERIMENT["model"]["pretrain"]["threads"]
    params:
        config=CONFIG,
        fingerprint=fingerprint(EXPERIMENT, "base"),
        data=lambda w, input: Path(input.manifest[0]).parent,
        out=subpath(output[0], parent=True),
    shell:
        "python -m workflow.steps.base --config {params.config} --data {params.data} --out {params.out} 2>&1 | tee {log}"

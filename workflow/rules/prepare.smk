rule config:
    output:
        f"{OUT}/config.json",
    log:
        f"{OUT}/logs/config.log",
    conda:
        "../../environment.yml"
    params:
        files=CONFIGS,
        overrides=json.dumps(OVERRIDES),
        experiment=EXPERIMENT,
    shell:
        "python -m workflow.steps.configuration --config {params.files} --set {params.overrides:q}"
        " --out {output} 2>&1 | tee {log}"


rule data:
    input:
        ancient(rules.config.output),
    output:
        f"{OUT}/data/manifest.json",
    log:
        f"{OUT}/logs/data.log",
    conda:
        "../../environment.yml"
    params:
        fingerprint=fingerprint(EXPERIMENT, "data"),
        out=subpath(output[0], parent=True),
    shell:
        "python -m workflow.steps.data --config {input} --out {params.out} 2>&1 | tee {log}"


rule check:
    input:
        config=ancient(rules.config.output),
        manifest=rules.data.output,
    output:
        f"{OUT}/data/checked.txt",
    log:
        f"{OUT}/logs/check.log",
    conda:
        "../../environment.yml"
    params:
        tasks=EXPERIMENT["tasks"],
        data=lambda w, input: Path(input.manifest[0]).parent,
    shell:
        "python -m workflow.steps.check --config {input.config} --data {params.data} --out {output} 2>&1 | tee {log}"


rule base:
    input:
        config=ancient(rules.config.output),
        manifest=rules.data.output,
    output:
        f"{OUT}/base/base.json",
    log:
        f"{OUT}/logs/base.log",
    conda:
        "../../environment.yml"
    threads: EXPERIMENT["model"]["pretrain"]["threads"]
    params:
        fingerprint=fingerprint(EXPERIMENT, "base"),
        data=lambda w, input: Path(input.manifest[0]).parent,
        out=subpath(output[0], parent=True),
    shell:
        "python -m workflow.steps.base --config {input.config} --data {params.data} --out {params.out} 2>&1 | tee {log}"

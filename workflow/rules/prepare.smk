rule config:
    output:
        f"{OUT}/config.json",
    params:
        experiment=EXPERIMENT,
    run:
        from workflow.steps.configuration import check_machine
        from workflow.steps.files import write_json

        try:
            check_machine(params.experiment)
        except InputError as error:
            raise WorkflowError(str(error)) from None
        write_json(Path(output[0]), params.experiment)


rule data:
    input:
        ancient(rules.config.output),
    output:
        f"{OUT}/data/manifest.json",
    params:
        fingerprint=fingerprint(EXPERIMENT, "data"),
        out=subpath(output[0], parent=True),
    log:
        f"{OUT}/logs/data.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m workflow.steps.data --config {input} --out {params.out} 2>&1 | tee {log}"


rule check:
    input:
        config=ancient(rules.config.output),
        manifest=rules.data.output,
    output:
        f"{OUT}/data/checked.txt",
    params:
        tasks=EXPERIMENT["tasks"],
        data=f"{OUT}/data",
    log:
        f"{OUT}/logs/check.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m workflow.steps.check --config {input.config} --data {params.data} --out {output} 2>&1 | tee {log}"


rule base:
    input:
        config=ancient(rules.config.output),
        manifest=rules.data.output,
    output:
        f"{OUT}/base/base.json",
    params:
        fingerprint=fingerprint(EXPERIMENT, "base"),
        data=f"{OUT}/data",
        out=subpath(output[0], parent=True),
    log:
        f"{OUT}/logs/base.log",
    threads: EXPERIMENT["model"]["pretrain"]["threads"]
    conda:
        "../../environment.yml"
    shell:
        "python -m workflow.steps.base --config {input.config} --data {params.data} --out {params.out} 2>&1 | tee {log}"

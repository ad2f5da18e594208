rule collect:
    input:
        train=expand("{run}/train.json", run=RUNS),
        evaluations=expand("{run}/eval/{task}.json", run=RUNS, task=EXPERIMENT["tasks"]),
        measurements=expand(f"{OUT}/runs/{{method}}/measure.json", method=MEASURED),
    output:
        f"{OUT}/results.csv",
    log:
        f"{OUT}/logs/collect.log",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m analysis.listing {params.out} 2>&1 | tee {log}"


rule tables:
    input:
        rules.collect.output,
    output:
        directory(f"{OUT}/tables"),
    log:
        f"{OUT}/logs/tables.log",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m analysis.tables {params.out} 2>&1 | tee {log}"


rule figures:
    input:
        rules.collect.output,
    output:
        directory(f"{OUT}/figures"),
    log:
        f"{OUT}/logs/figures.log",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m analysis.figures {params.out} 2>&1 | tee {log}"


rule report:
    input:
        rules.tables.output,
        rules.figures.output,
    output:
        f"{OUT}/report.html",
    log:
        f"{OUT}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m analysis.report {params.out} 2>&1 | tee {log}"


# Last: a run that crashed fails the pipeline only once everything else is made.  It asks for
# the results themselves, so that one moved aside is made again.
rule status:
    input:
        rules.report.output,
        rules.collect.input,
    output:
        f"{OUT}/status.txt",
    log:
        f"{OUT}/logs/status.log",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m workflow.steps.status {params.out} --out {output} 2>&1 | tee {log}"

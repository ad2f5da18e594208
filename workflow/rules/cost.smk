# Not part of `all`, nor of an experiment: `snakemake cost` on a machine with a GPU.  It uses every GPU
# itself, and the results lie beside the declared output, so that a stopped run goes on where it was.
rule cost:
    input:
        config=Path(workflow.basedir, "workflow/config/cost.yaml"),
    output:
        "results/cost/status.txt",
    log:
        "results/cost/cost.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python -m workflow.steps.cost --config {input.config} --out {params.out} 2>&1 | tee {log}"

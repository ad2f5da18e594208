"""`python -m analysis results/<experiment>`: collect, tables, figures and report in one go."""

from analysis import collect, figures, report, tables
from analysis.stage import stage

if __name__ == "__main__":

    def everything(results: collect.Results) -> None:
        for step in (collect, tables, figures, report):
            step.write(results)

    stage(everything, "make results.csv, tables, figures and report.html")

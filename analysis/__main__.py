"""`python -m analysis results/<experiment>`: collect, tables, figures and report in one go."""

from analysis import figures, listing, report, tables
from analysis.collect import Results
from analysis.stage import stage

if __name__ == "__main__":

    def everything(results: Results) -> None:
        for step in (listing, tables, figures, report):
            step.write(results)

    stage(everything, "make results.csv, tables, figures and report.html")

"""`python -m analysis results/<experiment>`: collect, tables, figures and report in one go.

Of a folder of cost results, their tables and figures.
"""

import sys
from pathlib import Path

from analysis import costs, figures, listing, report, tables
from analysis.collect import Results
from analysis.stage import exit_on_bad_input, stage

if __name__ == "__main__":

    def everything(results: Results) -> None:
        for step in (listing, tables, figures, report):
            step.write(results)

    folders = [Path(name) for name in sys.argv[1:]]
    if len(folders) == 1 and costs.is_cost_folder(folders[0]):
        exit_on_bad_input(lambda: costs.write(folders[0]))
    else:
        stage(everything, "make results.csv, tables, figures and report.html")

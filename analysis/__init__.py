"""Result files -> `results.csv`, tables, figures and one report.  Needs neither torch nor the other folders.

Each stage runs on its own: `python -m analysis.listing | analysis.tables | analysis.figures |
analysis.report results/<experiment>`; `python -m analysis results/<experiment>` runs them all.
"""

"""`python -m analysis.tables results/<experiment>`"""

from analysis.stage import stage
from analysis.tables import write

stage(write, "write the tables of an experiment as CSV, Markdown and LaTeX")

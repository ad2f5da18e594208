"""`python -m analysis.figures results/<experiment>`"""

from analysis.figures import write
from analysis.stage import stage

stage(write, "draw the figures of an experiment as SVG and PNG")

"""APOLLO-Mini: APOLLO with rank 1 and one step length for each matrix (apollo-torch)."""

from baselines import apollo

TITLE = "APOLLO-Mini"
PAPER = apollo.PAPER
PARAMETERS = {**apollo.PARAMETERS, "rank": 1, "scale": 128.0, "scale_type": "tensor"}
REQUIRES = apollo.REQUIRES
NOTES = apollo.NOTES
RESUMES = True

supports = apollo.supports
build = apollo.build
export = apollo.export

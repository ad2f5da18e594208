"""The command line that every stage of the analysis has."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from analysis.collect import read
from analysis.files import InputError


def stage(write: Callable, purpose: str) -> None:
    """Runs `write` on the results of the folder named on the command line; bad input exits with status 2."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("folder", type=Path, help="an experiment's folder, such as results/mini")
    try:
        write(read(parser.parse_args().folder))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno is None:
            raise
        print(
            f"error: {error.strerror} ({error.filename}); nothing half-written was left behind",
            file=sys.stderr,
        )
        sys.exit(2)

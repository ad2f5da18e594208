"""The command line that every stage of the analysis has."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from analysis.collect import read
from analysis.files import InputError


def stage(write: Callable, purpose: str, *names: str) -> None:
    """Runs `write` on the results of each folder on the command line, one unless `names` has more.

    Bad input exits with status 2.
    """
    parser = argparse.ArgumentParser(description=purpose)
    names = names or ("folder",)
    for name in names:
        parser.add_argument(name, type=Path, help="an experiment's folder, such as results/mini")
    arguments = vars(parser.parse_args())
    try:
        write(*(read(arguments[name]) for name in names))
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

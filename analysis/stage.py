"""The command line that every stage of the analysis has."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from analysis.collect import read
from analysis.files import InputError


def stage(write: Callable, purpose: str, *names: str) -> None:
    """Runs `write` on the results of each folder on the command line, one unless `names` has more."""
    parser = argparse.ArgumentParser(description=purpose)
    names = names or ("folder",)
    for name in names:
        parser.add_argument(name, type=Path, help="an experiment's folder, such as results/mini")
    arguments = vars(parser.parse_args())
    exit_on_bad_input(lambda: write(*(read(arguments[name]) for name in names)))


def exit_on_bad_input(main: Callable) -> None:
    """Runs `main`; what the user gave wrong is one sentence and exit status 2."""
    try:
        main()
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

"""The command line all stages share, and files written whole or not at all."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


class InputError(Exception):
    """Something the user gave is wrong; the message is one sentence saying what and what to do."""


def write_file(path: Path, content: str | bytes) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def stage(write: Callable, purpose: str) -> None:
    """Runs `write` on the results of the folder named on the command line; bad input exits with status 2."""
    from analysis.collect import read  # which imports this module

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

"""Files written whole or not at all, and the error a user can act on."""

import os
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

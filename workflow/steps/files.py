"""Reading input and writing results: whole files or none, and errors a user can act on."""

import errno
import gzip
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Something the user gave is wrong; the message is one sentence saying what and what to do."""


def exit_on_input_error(main: Callable[[], None]) -> None:
    """Runs a step's `main`; bad input or a disk that cannot be written ends it with one line and status 2."""
    try:
        main()
    except InputError as error:
        sys.exit(_complain(f"error: {error}"))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f" ({error.filename})" if error.filename else ""
        sys.exit(_complain(f"error: {error.strerror}{where}; nothing half-written was left behind"))


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _complain(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def atomic_write(path: Path, content: str | bytes) -> None:
    """Writes beside `path`, flushes to disk, renames: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON, lists of numbers on one line; NaN and infinity, which JSON lacks, raise ValueError."""
    text = json.dumps(value, indent=2, allow_nan=False)
    text = re.sub(r"\[\n[\s\d.,eE+-]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    atomic_write(path, text + "\n")


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    atomic_write(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run the stage that makes it first") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not JSON ({error.msg} in line {error.lineno}); remove it to have it made again"
        ) from None


def read_jsonl(path: Path) -> Iterator[dict]:
    """The rows of a `.jsonl` or `.jsonl.gz` file.  A malformed line is named by file and number."""
    if not path.is_file():
        raise InputError(f"{path} is missing")
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: a JSON object is wanted, not {type(row).__name__}")
            yield row


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

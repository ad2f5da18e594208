"""One line for a run's start, a line with an estimate every tenth of it, one for its end."""

import sys
import time


class Progress:
    """Prints to standard error, line by line: several runs can share a terminal or a log."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.first = label, total, done
        self.started = time.monotonic()
        self.printed = 10 * done // total
        self._say(f"starts at step {done} of {total}" if done else f"{total} steps")

    def update(self, done: int, note: str = "") -> None:
        tenths = 10 * done // self.total
        if tenths <= self.printed:
            return
        self.printed = tenths
        elapsed = time.monotonic() - self.started
        left = elapsed / (done - self.first) * (self.total - done)
        bar = "#" * tenths + "." * (10 - tenths)
        self._say(
            f"[{bar}] {done}/{self.total}  {note}  {left:.0f} s left"
            if left >= 0.5
            else f"[{bar}] done in {elapsed:.0f} s  {note}"
        )

    def _say(self, text: str) -> None:
        print(f"{self.label}: {text}", file=sys.stderr, flush=True)

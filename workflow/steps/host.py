"""Whether the processors were free for what was timed: a busy host launches a GPU's kernels late."""

import os
import time
from pathlib import Path
from typing import Any

BUSY_LOAD = 0.5  # runnable processes for each processor, over the minute before
BUSY_OTHERS = 0.25  # of all processors' time, taken by other processes meanwhile
TICK = os.sysconf("SC_CLK_TCK")
STAT = Path("/proc/stat")


class Watch:
    """From its making until `seen()`: how busy the host is with other work."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self.started, self.all, self.own = time.monotonic(), _processor_seconds(), _own_seconds()

    def seen(self) -> dict[str, Any]:
        """`load` at the start and the share of `others` since; None where the system does not say."""
        everything, elapsed = _processor_seconds(), time.monotonic() - self.started
        others = None
        if self.all is not None and everything is not None and elapsed > 0:
            others = everything - self.all - (_own_seconds() - self.own)
            others = max(0.0, others / elapsed / (os.cpu_count() or 1))
        return {"load": self.load, "others": others}


def busy(seen: dict[str, Any]) -> str | None:
    """Why times taken meanwhile say nothing; None where they do."""
    if seen["load"] > BUSY_LOAD:
        return (
            f"time left out: the host was busy before, with a load of {seen['load']:.1f} for each processor"
        )
    if seen["others"] is not None and seen["others"] > BUSY_OTHERS:
        return f"time left out: other processes took {seen['others']:.0%} of the processors meanwhile"
    return None


def _processor_seconds() -> float | None:
    """Of all processors together, not idle; None on a system without /proc/stat."""
    try:
        user, nice, system, _idle, _wait, irq, softirq, *_ = map(
            int, STAT.read_text().split("\n")[0].split()[1:]
        )
    except OSError:
        return None
    return (user + nice + system + irq + softirq) / TICK


def _own_seconds() -> float:
    used = os.times()
    return used.user + used.system

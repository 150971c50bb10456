"""What processes cost, read from /proc: Linux."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def process_tree(pid: int) -> list[int]:
    """A process and all below it. Linux."""
    found = [pid]
    for task in _children_files(pid):
        with contextlib.suppress(OSError):
            for child in task.read_text(encoding="ascii").split():
                found += process_tree(int(child))
    return found


def _children_files(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    return []


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all below it, those that have ended and been waited for included."""
    total = 0
    for each in process_tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            total += sum(int(value) for value in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def running_nanoseconds(pid: int) -> int:
    """Time on a core of all threads that live, to the nanosecond; `cpu_seconds` counts in hundredths of a second."""
    total = 0
    for each in process_tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total

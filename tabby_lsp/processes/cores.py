"""The processor's cores: how many threads can run at once, and how many of them have a fast core to themselves.

Two threads of a core share what computes, and efficiency cores hold up the others, since the threads of a matrix
product wait for the last one. So the fast physical cores are the number to begin with. Only Linux can be tested in this
project's CI; the other branches use documented calls of the system's own libraries.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.processes import cgroup
from tabby_lsp.processes.sysfiles import ROOT, number_in, said_by

# Of the processors that Linux gives a capacity, those with half of the largest are fast: Arm's little cores have a
# third to a half of their big ones', Intel's efficiency cores six tenths, but those are listed in a file of their own.
FAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers of threads that this process may run at once: `all` of them, one for each `physical` core, and one for
    each `fast` physical core."""

    all: int
    physical: int
    fast: int


def cores(root: Path = ROOT) -> Cores:
    """Those of this machine. What cannot be found out counts as fast and physical."""
    usable = processors(root)
    physical = fast = 0
    if sys.platform == "linux":
        physical, fast = _linux(os.sched_getaffinity(0), root / "sys/devices")
    elif sys.platform == "darwin":
        physical = _darwin("hw.physicalcpu")
        fast = _darwin("hw.perflevel0.physicalcpu")
    elif sys.platform == "win32":
        physical, fast = _windows()
    physical = min(physical or usable, usable)
    return Cores(usable, physical, min(fast or physical, physical))


def processors(root: Path = ROOT) -> int:
    """How many threads of this process can run at once: processors that it may use, and has the time of."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    share = cgroup.processors(root)
    allowed = len(os.sched_getaffinity(0))
    return allowed if share is None else max(1, min(allowed, int(share)))


def _linux(allowed: Iterable[int], devices: Path) -> tuple[int, int]:
    """Physical cores among some processors, and the fast ones of them; 0 where the system does not say."""
    siblings, capacity = {}, {}
    for number in allowed:
        processor = devices / f"system/cpu/cpu{number}"
        siblings[number] = said_by(processor / "topology/thread_siblings_list") or str(number)
        capacity[number] = number_in(processor / "cpu_capacity") or 0
    performance = _numbers(said_by(devices / "cpu_core/cpus"))  # beside `cpu_atom`, on Intel's hybrid processors
    largest = max(capacity.values(), default=0)
    fast = [
        each for each in siblings if (each in performance if performance else capacity[each] >= FAST_SHARE * largest)
    ]
    return len(set(siblings.values())), len({siblings[each] for each in fast})


def _numbers(text: str) -> set[int]:
    """`0-3,8` as numbers."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return found


def _darwin(name: str) -> int:
    """A number that the kernel knows (sysctl(3)), 0 if it does not."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    found = ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    return value.value if found == 0 else 0


def _windows() -> tuple[int, int]:
    """Physical cores and those of the highest efficiency class, which is the fastest one
    (GetLogicalProcessorInformationEx with RelationProcessorCore)."""
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (absent elsewhere, which mypy would report)
    size = ctypes.c_ulong(0)
    kernel.GetLogicalProcessorInformationEx(0, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not size.value or not kernel.GetLogicalProcessorInformationEx(0, buffer, ctypes.byref(size)):
        return 0, 0
    classes = efficiency_classes(buffer.raw[: size.value])
    return len(classes), classes.count(max(classes, default=0))


def efficiency_classes(records: bytes) -> list[int]:
    """The class of each core of an array of SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX: the relation and the record's size
    in four bytes each, then one of flags and one with the class."""
    classes = []
    while len(records) >= 10:
        relation, size = struct.unpack_from("<II", records)
        if size < 10:
            break
        if relation == 0:
            classes.append(records[9])
        records = records[size:]
    return classes

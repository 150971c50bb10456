"""What Linux leaves to this process of the machine: a container or a service may have less than all of it (cgroups(7)).

Both versions of control groups are read, this process's group and those above it. Where there are none, or none can be
read, nothing is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tabby_lsp.processes.sysfiles import ROOT, said_by

NO_LIMIT = 1 << 60  # version 1 says 2^63 less a page where there is none


def memory_room(root: Path = ROOT) -> int | None:
    """Bytes that may still be taken, None: no limit. What is held of files is free, the kernel drops it first."""
    return min((room for each in _folders("memory", root) if (room := _room(each)) is not None), default=None)


def processors(root: Path = ROOT) -> float | None:
    """How many processors' time may be used. None: no limit."""
    return min((share for each in _folders("cpu", root) if (share := _processors(each)) is not None), default=None)


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """Where the files of the controller are for this process's group and those above it.

    In a container the path may be the host's, and the group itself be mounted where all of them begin.
    """
    system = root / "sys/fs/cgroup"
    for line in said_by(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:  # version 2, which may be mounted beside version 1
            mounts = [system, system / "unified"]
        elif controller in controllers.split(","):
            mounts = [system / controllers, system / controller]
        else:
            continue
        for mount in mounts:
            group = mount / path.strip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(mount) and each.is_dir())


def _room(folder: Path) -> int | None:
    for limit_file, used_file, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        limit, used = said_by(folder / limit_file), said_by(folder / used_file)
        if limit.isdigit() and used.isdigit() and int(limit) < NO_LIMIT:
            held = dict(line.split(" ", 1) for line in said_by(folder / "memory.stat").splitlines() if " " in line)
            files = sum(int(held.get(f"{prefix}{each}_file", 0)) for each in ("inactive", "active"))
            return max(0, int(limit) - max(0, int(used) - files))
    return None


def _processors(folder: Path) -> float | None:
    parts = said_by(folder / "cpu.max").split() or [
        said_by(folder / "cpu.cfs_quota_us"),
        said_by(folder / "cpu.cfs_period_us"),
    ]
    if len(parts) == 2 and all(each.isdigit() for each in parts) and int(parts[1]):  # "max", -1: no limit
        return int(parts[0]) / int(parts[1])
    return None

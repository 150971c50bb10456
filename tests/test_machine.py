"""What the machine says of itself, asked of a machine that the test has made."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tabby_lsp.commands import doctor
from tabby_lsp.data import Build
from tabby_lsp.processes import cgroup, cores, gpus, machine
from tabby_lsp.processes.cores import Cores
from tabby_lsp.processes.gpus import Gpu

linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux does it")

# --- priority

PRIORITIES = """
import json, os, sys
from tabby_lsp.processes import machine
machine.lowest_priority(own_session=sys.argv[1] == "own")
group = open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else ""
print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.getsid(0) == os.getpid(), group]))
"""


@linux
@pytest.mark.parametrize(("argument", "leads"), [("own", False), ("shared", False), ("shared", True)])
def test_the_lowest_priority_is_that_of_a_session_if_it_is_ones_own(argument: str, leads: bool) -> None:
    command = [sys.executable, "-c", PRIORITIES, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=leads)
    nice, scheduler, own, group = json.loads(done.stdout)
    assert (nice, scheduler) == (19, os.SCHED_IDLE)
    assert own == (leads or argument == "own")
    if group:
        assert group.strip().endswith("nice 19") == own, "another's session stays as it is"


# --- control groups

MIB = 1 << 20


def group(folder: Path, **texts: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n", encoding="ascii")


def in_groups(root: Path, *lines: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(lines), encoding="ascii")
    return root / "sys/fs/cgroup"


def test_the_room_of_a_container(tmp_path: Path) -> None:
    """The file system's part of what a group holds is given back when it is needed."""
    folder = in_groups(tmp_path, "0::/")
    group(
        folder,
        memory_max=1000 * MIB,
        memory_current=900 * MIB,
        memory_stat=f"anon {300 * MIB}\ninactive_file {400 * MIB}\nactive_file {100 * MIB}",
        cpu_max="150000 100000",
    )
    assert cgroup.memory_room(tmp_path) == 600 * MIB
    assert cgroup.processors(tmp_path) == 1.5


def test_the_groups_above_count_as_well(tmp_path: Path) -> None:
    folder = in_groups(tmp_path, "0::/user.slice/app.scope")
    group(folder, memory_stat="")  # the topmost has no limits
    group(folder / "user.slice", memory_max=500 * MIB, memory_current=100 * MIB, memory_stat="", cpu_max="max 100000")
    group(folder / "user.slice/app.scope", memory_max="max", memory_current=50 * MIB, cpu_max="200000 100000")
    assert cgroup.memory_room(tmp_path) == 400 * MIB
    assert cgroup.processors(tmp_path) == 2.0


def test_control_groups_of_the_first_version(tmp_path: Path) -> None:
    folder = in_groups(tmp_path, "9:name=systemd:/", "4:memory:/docker/abc", "3:cpu,cpuacct:/docker/abc", "0::/")
    files_held = f"inactive_file 5\ntotal_inactive_file {30 * MIB}\ntotal_active_file {20 * MIB}"
    group(folder / "memory", memory_limit_in_bytes=(1 << 63) - 4096, memory_usage_in_bytes=7, memory_stat="")
    inside = folder / "memory/docker/abc"
    group(inside, memory_limit_in_bytes=200 * MIB, memory_usage_in_bytes=150 * MIB, memory_stat=files_held)
    group(folder / "cpu,cpuacct", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100000)
    group(folder / "cpu,cpuacct/docker/abc", cpu_cfs_quota_us=50000, cpu_cfs_period_us=100000)
    assert cgroup.memory_room(tmp_path) == 100 * MIB
    assert cgroup.processors(tmp_path) == 0.5


def test_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    """Without a namespace of its own a container reads a path that is not mounted in it; its files lie at the top."""
    folder = in_groups(tmp_path, "4:memory:/docker/abc", "3:cpu:/docker/abc")
    group(folder / "memory", memory_limit_in_bytes=200 * MIB, memory_usage_in_bytes=50 * MIB, memory_stat="")
    assert cgroup.memory_room(tmp_path) == 150 * MIB


def test_no_groups_and_damaged_ones_limit_nothing(tmp_path: Path) -> None:
    assert cgroup.memory_room(tmp_path) is None and cgroup.processors(tmp_path) is None
    folder = in_groups(tmp_path, "what", "0::/../../..", "1:memory", "2:cpu:/")
    group(folder, memory_max="many", memory_current="few", memory_stat="x\ninactive_file", cpu_max="1 0")
    group(folder / "cpu", cpu_max="100000")
    assert cgroup.memory_room(tmp_path) is None and cgroup.processors(tmp_path) is None


@linux
def test_what_is_free_is_no_more_than_the_group_has(monkeypatch: pytest.MonkeyPatch) -> None:
    free = machine.available_memory()
    assert free and free > 64 * MIB
    monkeypatch.setattr(cgroup, "memory_room", lambda: 5 * MIB)
    assert machine.available_memory() == 5 * MIB


# --- cores


def processors(root: Path, siblings: list[str], capacities: list[int] | None = None, fast: str = "") -> Path:
    for number, text in enumerate(siblings):
        folder = root / f"sys/devices/system/cpu/cpu{number}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/thread_siblings_list").write_text(text + "\n", encoding="ascii")
        if capacities:
            (folder / "cpu_capacity").write_text(f"{capacities[number]}\n", encoding="ascii")
    if fast:
        (root / "sys/devices/cpu_core").mkdir(parents=True)
        (root / "sys/devices/cpu_core/cpus").write_text(fast + "\n", encoding="ascii")
    return root


def two_threads(count: int) -> list[str]:
    return [f"{each - each % 2}-{each - each % 2 + 1}" for each in range(2 * count)]


@linux
@pytest.mark.parametrize(
    "siblings, capacities, fast, expected",
    [
        ([str(each) for each in range(8)], None, "", Cores(8, 8, 8)),
        (two_threads(8), None, "", Cores(16, 8, 8)),
        # Intel: eight performance cores with two threads, eight efficiency cores with one
        (two_threads(8) + [str(each) for each in range(16, 24)], None, "0-15", Cores(24, 16, 8)),
        # Arm: one that is fastest, three that are nearly so, four small ones
        ([str(each) for each in range(8)], [250, 250, 250, 250, 870, 870, 870, 1024], "", Cores(8, 8, 4)),
        ([], None, "", Cores(4, 4, 4)),  # nothing is said
    ],
    ids=["plain", "two threads a core", "hybrid", "big and little", "unknown"],
)
def test_the_cores_of_a_processor(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    siblings: list[str],
    capacities: list[int] | None,
    fast: str,
    expected: Cores,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(len(siblings) or 4)))
    assert cores.cores(processors(tmp_path, siblings, capacities, fast)) == expected


@linux
def test_the_time_that_a_container_has_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    processors(tmp_path, two_threads(8))
    group(in_groups(tmp_path, "0::/"), cpu_max="350000 100000")
    assert cores.cores(tmp_path) == Cores(3, 3, 3)
    group(tmp_path / "sys/fs/cgroup", cpu_max="20000 100000")
    assert cores.cores(tmp_path) == Cores(1, 1, 1)


@linux
def test_cores_that_this_process_may_not_use_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 16, 17})
    processors(tmp_path, two_threads(8) + [str(each) for each in range(16, 24)], None, "0-15")
    assert cores.cores(tmp_path) == Cores(4, 3, 1)


def test_windows_tells_of_its_cores_in_records() -> None:
    """Of four cores two are of a faster class; records of another relation, and one that is cut off, stand between."""

    def record(relation: int, efficiency: int, size: int = 48) -> bytes:
        return struct.pack("<IIBB", relation, size, 1, efficiency) + bytes(size - 10)

    records = record(0, 0) + record(0, 1) + record(3, 9, 64) + record(0, 1) + record(0, 0)
    assert cores.efficiency_classes(records) == [0, 1, 1, 0]
    assert cores.efficiency_classes(records + bytes(12)) == [0, 1, 1, 0]
    assert cores.efficiency_classes(b"") == []


# --- GPUs


def on_the_bus(root: Path, *devices: tuple[str, str]) -> Path:
    for place, (vendor, kind) in enumerate(devices):
        folder = root / f"sys/bus/pci/devices/0000:00:0{place}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n", encoding="ascii")
        (folder / "class").write_text(f"{kind}\n", encoding="ascii")
    return root


@linux
def test_gpus_are_seen_on_the_bus(tmp_path: Path) -> None:
    assert gpus.gpus(tmp_path) == []
    on_the_bus(tmp_path, ("0x8086", "0x060000"), ("0x8086", "0x030000"), ("0x10de", "0x030200"), ("0x10de", "0x040300"))
    assert [each.vendor for each in gpus.gpus(tmp_path)] == [gpus.NVIDIA, gpus.INTEL]
    report = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    report.parent.mkdir(parents=True)
    report.write_text("Model: \t\t NVIDIA GeForce RTX 3060\nIRQ:   \t\t 87\n", encoding="ascii")
    assert [each.name for each in gpus.gpus(tmp_path)] == ["NVIDIA GeForce RTX 3060", "Intel GPU"]


def test_windows_names_its_cards() -> None:
    names = ["Intel(R) UHD Graphics 630", "NVIDIA GeForce RTX 3060", "Microsoft Basic Display", "AMD Radeon(TM) 780M"]
    assert [each.vendor for each in gpus._named(names)] == [gpus.INTEL, gpus.NVIDIA, gpus.AMD]


# --- what doctor says of them


def said(build: Build, *found: Gpu) -> str:
    lines: list[str] = []
    doctor._gpu(build, list(found), lines.append)
    return "\n".join(lines)


PLAIN = Build("0.3.36", ("AVX2",), ("CPU",), ("CPU (x)",), 0)


@linux
@pytest.mark.parametrize(
    "vendor, compiler, flag, kit",
    [
        (gpus.NVIDIA, "", "GGML_CUDA", "CUDA toolkit"),
        (gpus.AMD, "/opt/rocm/bin/hipcc", "GGML_HIP", "ROCm"),
        (gpus.AMD, "", "GGML_VULKAN", "Vulkan SDK"),
        (gpus.INTEL, "", "GGML_VULKAN", "no faster than the CPU"),
        (gpus.APPLE, "", "GGML_METAL", "Xcode"),
    ],
)
def test_a_gpu_that_llama_cpp_cannot_use_and_the_command_that_changes_it(
    monkeypatch: pytest.MonkeyPatch, vendor: str, compiler: str, flag: str, kit: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: compiler or None)
    text = said(PLAIN, Gpu(vendor, f"{vendor} Something"))
    assert text.startswith(f"-- gpu:       {vendor} Something, which this llama.cpp cannot use.") and kit in text
    command = text.splitlines()[-1].strip()
    assert command == (
        f'CMAKE_ARGS="-D{flag}=on" {sys.executable} -m pip install --force-reinstall --no-deps --no-cache-dir '
        "llama-cpp-python==0.3.36"
    )


def test_gpus_that_are_used_not_found_or_not_there() -> None:
    card = Gpu(gpus.NVIDIA, "NVIDIA GeForce RTX 3060")
    assert said(PLAIN) == ""
    assert "ok gpu:" in said(replace(PLAIN, backends=("CUDA", "CPU"), gpus=1), card)
    assert "driver" in said(replace(PLAIN, backends=("CUDA", "CPU")), card)
    assert "cannot use" in said(replace(PLAIN, backends=("BLAS", "CPU")), card)
    assert doctor.rebuilding("GGML_CUDA", "1", windows=True).startswith('$env:CMAKE_ARGS = "-DGGML_CUDA=on"; ')

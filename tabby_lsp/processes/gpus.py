"""Which GPUs the machine seems to have, whether or not anything can compute on them, as the system lists them.

Only Linux can be tested in this project's CI; the other branches use documented calls of the system's own libraries.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.processes.sysfiles import ROOT, said_by

NVIDIA, AMD, INTEL, APPLE = "NVIDIA", "AMD", "Intel", "Apple"
# Makers by their numbers on the bus (pcisig.com), and the class of what shows or draws (pci.ids, class 03).
VENDORS = {"0x10de": NVIDIA, "0x1002": AMD, "0x8086": INTEL}
DISPLAY_CLASS = "0x03"


@dataclass(frozen=True, slots=True)
class Gpu:
    vendor: str
    name: str  # the maker and, where the system tells it, the model


def gpus(root: Path = ROOT) -> list[Gpu]:
    """Each maker's once, those that compute fastest first."""
    if sys.platform == "linux":
        found = _linux(root)
    elif sys.platform == "darwin":
        found = [Gpu(APPLE, "Apple GPU")] if platform.machine() == "arm64" else []
    elif sys.platform == "win32":
        found = _named(_windows())
    else:
        found = []
    order = [NVIDIA, APPLE, AMD, INTEL]
    by_vendor = {each.vendor: each for each in reversed(found)}
    return sorted(by_vendor.values(), key=lambda each: order.index(each.vendor))


def _linux(root: Path) -> list[Gpu]:
    """By the buses; in a container that shows none, by what NVIDIA's driver says of itself."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        vendor = VENDORS.get(said_by(device / "vendor"))
        if vendor and said_by(device / "class").startswith(DISPLAY_CLASS):
            found.append(Gpu(vendor, f"{vendor} GPU"))
    for report in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        model = dict(line.split(":", 1) for line in said_by(report).splitlines() if ":" in line).get("Model", "")
        found.insert(0, Gpu(NVIDIA, model.strip() or f"{NVIDIA} GPU"))
    return found


def _named(names: list[str]) -> list[Gpu]:
    """Of names of graphics cards those of the makers that matter."""
    marks = {"nvidia": NVIDIA, "geforce": NVIDIA, "amd": AMD, "radeon": AMD, "intel": INTEL}
    found = []
    for name in names:
        vendor = next((maker for mark, maker in marks.items() if mark in name.lower()), None)
        if vendor:
            found.append(Gpu(vendor, name))
    return found


def _windows() -> list[str]:
    """The display adapters' names (EnumDisplayDevicesW)."""

    class DisplayDevice(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_ulong),
            ("DeviceName", ctypes.c_wchar * 32),
            ("DeviceString", ctypes.c_wchar * 128),
            ("StateFlags", ctypes.c_ulong),
            ("DeviceID", ctypes.c_wchar * 128),
            ("DeviceKey", ctypes.c_wchar * 128),
        )

    user = getattr(ctypes, "windll").user32  # noqa: B009 (absent elsewhere, which mypy would report)
    names: list[str] = []
    device = DisplayDevice()
    device.cb = ctypes.sizeof(device)
    while len(names) < 64 and user.EnumDisplayDevicesW(None, len(names), ctypes.byref(device), 0):
        names.append(device.DeviceString)
    return names

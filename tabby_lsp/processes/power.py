"""Whether energy is scarce: the machine runs on its battery, or its processor is slowed down because it is too hot.

Only Linux can be tested in this project's CI; the other branches use documented calls and programs of the system's own.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.processes.sysfiles import ROOT, number_in, said_by

ON_BATTERY = "on battery"
TOO_HOT = "the processor is slowed down because it is too hot"

LOOK_SECONDS = 30.0  # some batteries take a tenth of a second to answer, and to ask wakes the processor
# Of the time since the last look. Processors slow themselves down for moments at each burst of work.
HOT_SHARE = 0.1


def watch(tell: Callable[[str], None]) -> None:
    """Calls `tell`, from a thread, with the reason when energy becomes scarce, and with "" when it no longer is."""
    threading.Thread(target=_watch, args=(tell, Look()), daemon=True).start()


def _watch(tell: Callable[[str], None], look: Look) -> None:
    known = ""
    while True:
        reason = look.reason(time.monotonic())
        if reason != known:
            known = reason
            tell(reason)
        time.sleep(LOOK_SECONDS)


@dataclass(slots=True)
class Look:
    """What the system says, and what it said before: of heat it tells for how long there has been too much."""

    root: Path = ROOT
    _hot: float | None = None  # seconds until the last look
    _at: float = 0.0

    def reason(self, now: float) -> str:
        """Why energy is scarce, empty if it is not."""
        if sys.platform == "darwin":
            return _darwin()
        if sys.platform == "win32":
            return _windows()
        if on_battery(self.root):
            return ON_BATTERY
        return TOO_HOT if self._too_hot(now) else ""

    def _too_hot(self, now: float) -> bool:
        before, since = self._hot, now - self._at
        self._hot, self._at = hot_seconds(self.root), now
        grew = self._hot is not None and before is not None and since > 0 and self._hot - before > HOT_SHARE * since
        return grew or held_down(self.root)


def on_battery(root: Path) -> bool:
    """Linux: a battery of the machine's own, and not of its mouse, gives its energy, and nothing else does
    (Documentation/ABI/testing/sysfs-class-power)."""
    discharging = False
    for supply in (root / "sys/class/power_supply").glob("*"):
        kind = said_by(supply / "type")
        if kind in ("Battery", "UPS") and said_by(supply / "scope") != "Device":
            discharging |= said_by(supply / "status") == "Discharging"
        elif kind in ("Mains", "USB", "Wireless") and number_in(supply / "online"):
            return False
    return discharging


def hot_seconds(root: Path) -> float | None:
    """Linux, Intel: for how long the hottest core has been slowed down since the start
    (Documentation/admin-guide/thermal/intel_thermal_throttle.rst). None where that is not told."""
    files = (root / "sys/devices/system/cpu").glob("cpu*/thermal_throttle/*_throttle_total_time_ms")
    return max((number / 1000 for each in files if (number := number_in(each)) is not None), default=None)


def held_down(root: Path) -> bool:
    """Linux: the kernel itself cools a processor by letting it compute less (Documentation/driver-api/thermal)."""
    for device in (root / "sys/class/thermal").glob("cooling_device*"):
        kind = said_by(device / "type")
        if (kind == "Processor" or "cpufreq" in kind) and (number_in(device / "cur_state") or 0) > 0:
            return True
    return False


def _darwin() -> str:
    """By pmset(1), which also tells how far the processor is slowed down."""
    if "'Battery Power'" in _output("/usr/bin/pmset", "-g", "batt"):
        return ON_BATTERY
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", _output("/usr/bin/pmset", "-g", "therm"))
    return TOO_HOT if limit and int(limit[1]) < 100 else ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _windows() -> str:
    """By GetSystemPowerStatus: no mains, or the user's battery saver. Of heat Windows tells nothing so simply."""

    class PowerStatus(ctypes.Structure):
        _fields_ = (
            ("ACLineStatus", ctypes.c_ubyte),
            ("BatteryFlag", ctypes.c_ubyte),
            ("BatteryLifePercent", ctypes.c_ubyte),
            ("SystemStatusFlag", ctypes.c_ubyte),
            ("BatteryLifeTime", ctypes.c_ulong),
            ("BatteryFullLifeTime", ctypes.c_ulong),
        )

    status = PowerStatus()
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (absent elsewhere, which mypy would report)
    told = kernel.GetSystemPowerStatus(ctypes.byref(status))
    return ON_BATTERY if told and (status.ACLineStatus == 0 or status.SystemStatusFlag == 1) else ""

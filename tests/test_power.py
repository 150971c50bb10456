"""On battery, or where the processor is too hot, nothing is read ahead and fewer threads compute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from editor import Editor
from test_engine import SETTINGS, hear, packed, say
from test_suggestions import Desk, completion

from tabby_lsp import __version__
from tabby_lsp.engine import messages
from tabby_lsp.engine.messages import Ready
from tabby_lsp.engine.model import Model
from tabby_lsp.engine.threads import Threads
from tabby_lsp.lsp.handlers import create_server
from tabby_lsp.processes import power
from tabby_lsp.processes.power import ON_BATTERY, TOO_HOT, Look

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")


def supply(root: Path, name: str, **files: object) -> None:
    put(root / "sys/class/power_supply" / name, **files)


def put(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n", encoding="ascii")


def throttled(root: Path, *milliseconds: int) -> None:
    for number, value in enumerate(milliseconds):
        folder = root / f"sys/devices/system/cpu/cpu{number}/thermal_throttle"
        put(folder, core_throttle_total_time_ms=value, package_throttle_total_time_ms=0, core_throttle_count=7)


def test_a_machine_that_tells_nothing_has_energy(tmp_path: Path) -> None:
    assert Look(tmp_path).reason(0.0) == ""


def test_a_laptop_on_its_battery(tmp_path: Path) -> None:
    look = Look(tmp_path)
    supply(tmp_path, "AC", type="Mains", online=0)
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", capacity=80)
    assert look.reason(0.0) == ON_BATTERY
    supply(tmp_path, "BAT0", status="Full")
    assert look.reason(1.0) == ""
    supply(tmp_path, "BAT0", status="Discharging")
    supply(tmp_path, "AC", online=1)
    assert look.reason(2.0) == "", "a charger that is too weak is still one"
    supply(tmp_path, "AC", online=0)
    supply(tmp_path, "ucsi-source-psy-1", type="USB", online=1)
    assert look.reason(3.0) == "", "charged by USB"


def test_the_battery_of_a_mouse_is_not_the_machines(tmp_path: Path) -> None:
    supply(tmp_path, "hidpp_battery_0", type="Battery", scope="Device", status="Discharging")
    supply(tmp_path, "broken", type="", online="what")
    (tmp_path / "sys/class/power_supply/none").mkdir()
    assert Look(tmp_path).reason(0.0) == ""


def test_a_processor_that_slows_itself_down(tmp_path: Path) -> None:
    """For more than a tenth of the time: moments of it are common."""
    look = Look(tmp_path)
    throttled(tmp_path, 90_000, 80_000)
    assert look.reason(100.0) == "", "what was before is not known to be now"
    throttled(tmp_path, 90_500, 80_000)
    assert look.reason(115.0) == ""
    throttled(tmp_path, 90_500, 92_500)
    assert look.reason(130.0) == TOO_HOT
    assert look.reason(145.0) == ""


@pytest.mark.parametrize(
    "kind, state, hot", [("Processor", 3, True), ("cpufreq-cpu0", 1, True), ("Processor", 0, False), ("Fan", 1, False)]
)
def test_a_processor_that_the_kernel_holds_down(tmp_path: Path, kind: str, state: int, hot: bool) -> None:
    put(tmp_path / "sys/class/thermal/cooling_device0", type="intel_powerclamp", cur_state=-1)
    put(tmp_path / "sys/class/thermal/cooling_device1", type=kind, cur_state=state)
    assert Look(tmp_path).reason(0.0) == (TOO_HOT if hot else "")


def test_only_what_changes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ["", "", ON_BATTERY, ON_BATTERY, TOO_HOT, "", ""]
    told: list[str] = []

    class Scripted(Look):
        def reason(self, now: float) -> str:
            if not reasons:
                raise StopIteration
            return reasons.pop(0)

    monkeypatch.setattr(power, "LOOK_SECONDS", 0.0)
    with pytest.raises(StopIteration):
        power._watch(told.append, Scripted())
    assert told == [ON_BATTERY, TOO_HOT, ""]


def test_a_model_computes_with_half_of_the_threads() -> None:
    model = Model(SETTINGS)
    model._threads = Threads((8, 7, 4, 1))
    model.save_energy(ON_BATTERY)
    assert model._threads.count(False) == model._threads.count(True) == 4
    model.save_energy("")
    assert model._threads.count(False) == 8


# --- the processes, whose files of the system lie in a folder of the test's


def looking_at(root: Path, module: str) -> str:
    """Runs a module's `main` on such a machine."""
    return (
        "from functools import partial; from pathlib import Path; from tabby_lsp.processes import power;"
        f"power.Look, power.LOOK_SECONDS = partial(power.Look, Path({str(root)!r})), 0.05;"
        f"from {module} import main; main()"
    )


def test_the_status_says_so(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online=1)
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    with Editor(command=(sys.executable, "-c", looking_at(tmp_path, "tabby_lsp.__main__"))) as editor:
        editor.start()
        assert editor.request("tabby/status", None)["savingEnergy"] == ""
        supply(tmp_path, "AC", online=0)
        editor.wait(lambda message: message.get("params", {}).get("savingEnergy") == ON_BATTERY)
        status = editor.request("tabby/status", None)
        assert status["tooltip"].endswith(
            "is ready (energy is saved, on battery: nothing is read ahead, fewer threads)"
        )
        supply(tmp_path, "AC", online=1)
        editor.wait(lambda message: message.get("params", {}).get("savingEnergy") == "", since=len(editor.messages))
        assert editor.request("tabby/status", None)["tooltip"].endswith("is ready")


async def test_nothing_is_read_ahead_and_nothing_made_ahead() -> None:
    desk = Desk()
    server = create_server()
    server.suggestions = desk.suggestions
    server.configure(restarts=False)
    server._set_habits(desk.suggestions)
    assert desk.suggestions.ahead, "that is the default"
    server.save_energy(ON_BATTERY)
    assert desk.engine.cancelled == [-1], "nor is what was begun"
    task = await desk.ask()
    assert not desk.engine.reads_ahead
    desk.engine.jobs[0].result.set_result(completion("value"))
    assert (await task) is not None and desk.engine.ahead == []
    server.configure(restarts=False)
    assert not desk.suggestions.ahead, "other settings change nothing of that"
    server.save_energy("")
    assert desk.suggestions.ahead


def test_the_engine_sees_it_itself(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    code = looking_at(tmp_path, "tabby_lsp.engine.process").replace(
        "; main()",
        "; from tabby_lsp.engine.model import Model; save = Model.save_energy;"
        "import sys; Model.save_energy = lambda self, reason: (save(self, reason), print(reason, file=sys.stderr));"
        "sys.stderr.reconfigure(line_buffering=True); main()",
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as engine:
        say(engine, packed(messages.Load(__version__, SETTINGS)))
        answer: Any = None
        while not isinstance(answer, Ready):
            answer, _ = hear(engine)
        assert engine.stderr is not None and ON_BATTERY in engine.stderr.readline().decode()
        supply(tmp_path, "BAT0", status="Full")
        assert engine.stderr.readline().decode().strip() == ""
        assert engine.stdin is not None
        engine.stdin.close()

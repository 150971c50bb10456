"""How fast a model will be: the measure, and what is worked out from it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tabby_lsp import cli
from tabby_lsp.commands import options
from tabby_lsp.engine import gguf, yardstick
from tabby_lsp.models import catalogue, overview, speed, starter
from tabby_lsp.models.speed import Rates
from tabby_lsp.settings import LocalModel

# 100 thousand million weights times tokens, and 20 GB, a second: a machine of some eight cores.
RATES = {"Q8_0": Rates(100e9, 20e9), "Q4_K": Rates(80e9, 16e9)}


@pytest.mark.parametrize("kind", yardstick.KINDS)
def test_what_is_measured_with_is_a_model_of_that_kind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "yardstick.gguf"
    weights = yardstick.write(path, kind)
    header = gguf.read_header(path)
    vectors = (1 + 2 * yardstick.LAYERS) * yardstick.WIDTH
    assert header.parameters == weights + vectors and header.layers == yardstick.LAYERS and header.tied
    block, size = gguf.BLOCKS[yardstick.KINDS[kind][0]]
    assert abs(path.stat().st_size - weights * size / block) < 100_000
    assert 60e6 < path.stat().st_size < 160e6, "larger than caches, smaller than what a disk minds"


def test_a_machine_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In llama.cpp itself, as briefly as it goes; how fast it is depends on who else is there."""
    monkeypatch.setattr(yardstick, "SECONDS", 0.0)
    monkeypatch.setattr(yardstick, "PROMPT", 8)
    monkeypatch.setattr(yardstick, "BATCH", 4)
    monkeypatch.setattr(yardstick, "ANSWER", 2)
    path = tmp_path / "yardstick.gguf"
    prompt, answer = yardstick._measure(path, yardstick.write(path, "Q4_K"))
    assert prompt > 0 and answer > 0


def test_a_machine_that_cannot_be_measured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false") or "false")
    with pytest.raises(speed.CannotMeasure, match="exit status 1"):
        speed.measure()


def test_a_file_here_is_worked_out_from_its_head() -> None:
    header = gguf.read_header(starter.MODEL)
    found = speed.of_file(header, starter.MODEL.stat().st_size, RATES)
    computed = header.parameters - header.vocabulary * header.width
    assert found.prompt == pytest.approx(100e9 / computed)
    assert found.answer == pytest.approx(20e9 / starter.MODEL.stat().st_size)


def test_a_model_that_is_not_here_is_worked_out_from_its_size() -> None:
    by_name = {each.name: speed.of_entry(each, RATES) for each in catalogue.registry()}
    small, experts = by_name["Qwen2.5-Coder-0.5B"], by_name["Qwen3-30B-A3B"]
    assert small and small.answer == pytest.approx(20e9 / 531_068_128)
    dense = by_name["Qwen3-32B"]
    assert experts and dense and experts.answer > 8 * dense.answer, "of a mixture of experts few are asked"
    assert by_name["gpt-oss-20b"] is None
    four_bits = by_name["Qwen3-4B-Instruct-2507"]
    assert four_bits and four_bits.answer == pytest.approx(16e9 / 2_497_280_736)


@pytest.mark.parametrize(
    "rates, completion, chat",
    [
        (Rates(1e9, 0.2e9), "", ""),
        (Rates(25e9, 10e9), "Qwen2.5-Coder-0.5B", "Qwen2.5-Coder-0.5B-Instruct"),
        (Rates(100e9, 25e9), "Qwen2.5-Coder-1.5B", "Qwen2.5-Coder-1.5B-Instruct"),
        (Rates(400e9, 120e9), "Qwen2.5-Coder-7B", "Qwen2.5-Coder-7B-Instruct"),
    ],
)
def test_the_largest_that_is_fast_enough_is_recommended(
    rates: Rates,
    completion: str,
    chat: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(options, "start_logging", lambda *_, **__: None)
    monkeypatch.setattr(speed, "measure", lambda: {"Q8_0": rates, "Q4_K": rates})
    monkeypatch.setattr(overview.machine, "available_memory", lambda: 12 << 30)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["models", "recommend", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recommended"] == {"completion": completion, "chat": chat}
    assert cli.main(["models", "recommend"]) == 0
    out = capsys.readouterr().out
    for role, name in (("completion", completion), ("chat", chat)):
        said = (
            f"For {role}: `tabby-lsp models get {name}`." if name else f"For {role} none of them is fast enough here."
        )
        assert said in out
    assert "Qwen2.5-Coder-3B" not in out, "what forbids commercial use is not recommended"


def test_what_does_not_fit_is_not_recommended() -> None:
    names = {name for names in overview.SUITABLE.values() for name in names}
    assert {each.commercial for each in catalogue.registry() if each.name in names} == {"yes"}
    rows = overview.rows(catalogue.registry(), [], {}, LocalModel(), [])
    small = [(replace(row, fits=0 < row.size < 1e9), speed.Speed(1e6, 1e6)) for row in rows]
    assert speed.picks(small) == {"completion": "Qwen2.5-Coder-0.5B", "chat": "Qwen2.5-Coder-0.5B-Instruct"}

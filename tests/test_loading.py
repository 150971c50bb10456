"""From a file to a model in memory: which files, on what, and how much of it fits."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import gguf as library
import ggufs
import numpy as np
import pytest
from conftest import MODEL
from test_engine import SETTINGS, request, state_of

from tabby_lsp.data import CompletionSettings, ModelSettings
from tabby_lsp.engine import devices, draft, gguf, loading, memory
from tabby_lsp.engine.client import Engine, EngineError
from tabby_lsp.engine.devices import CPU, GPU, INTEGRATED, Device, NoSuchDevice
from tabby_lsp.engine.gguf import Header
from tabby_lsp.engine.loading import ModelError, checked_files
from tabby_lsp.engine.model import Model
from tabby_lsp.processes import machine

MIB, GIB = 1 << 20, 1 << 30


def header_of(tmp_path: Path, architecture: str = "llama", **keys: object) -> Header:
    """The head of a file with these keys, `__` for dots, below the architecture's name."""
    path = tmp_path / "head.gguf"
    named = {f"{architecture}__{name}": value for name, value in keys.items()}
    path.write_bytes(ggufs.model(general__architecture=architecture, **named))
    return gguf.read_header(path)


# --- how much memory


@pytest.mark.parametrize(
    "architecture, keys, cached, state",
    [
        # two layers of two heads, of 16 numbers for key and value each
        ("llama", {}, 2 * 2 * 32, 0),
        ("llama", {"attention__head_count_kv": [2, 0]}, 2 * 32, 0),
        ("llama", {"attention__key_length": 8, "attention__value_length": 24}, 2 * 2 * 32, 0),
        # one in two layers attends, the other is recurrent
        (
            "granitehybrid",
            {
                "attention__head_count_kv": [0, 2],
                "ssm__conv_kernel": 4,
                "ssm__inner_size": 128,
                "ssm__state_size": 16,
                "ssm__group_count": 1,
            },
            2 * 32,
            3 * (128 + 2 * 16) + 16 * 128,
        ),
        (
            "qwen3next",
            {
                "full_attention_interval": 2,
                "ssm__conv_kernel": 4,
                "ssm__inner_size": 128,
                "ssm__state_size": 16,
                "ssm__group_count": 2,
            },
            2 * 32,
            3 * (128 + 4 * 16) + 16 * 128,
        ),
        ("rwkv7", {"attention__head_count": 0, "wkv__head_size": 64}, 0, 2 * (2 * 64 + 64 * 64)),
        ("lfm2", {"attention__head_count_kv": [2, 0], "shortconv__l_cache": 3}, 2 * 32, 64 * 2),
        ("gemma3n", {"attention__shared_kv_layers": 1}, 2 * 32, 0),
        # keys and values compressed to one
        (
            "deepseek2",
            {
                "attention__head_count_kv": 1,
                "attention__key_length": 40,
                "attention__value_length": 32,
                "attention__key_length_mla": 24,
            },
            2 * 40,
            0,
        ),
    ],
)
def test_what_is_kept_of_each_token_and_of_each_text(
    tmp_path: Path, architecture: str, keys: dict[str, object], cached: int, state: int
) -> None:
    shape = {"block_count": 2, "embedding_length": 64, "attention__head_count": 4, "attention__head_count_kv": 2}
    if architecture == "rwkv7":
        del shape["attention__head_count_kv"]
    header = header_of(tmp_path, architecture, **{**shape, **keys})
    assert (header.cached, header.state) == (cached, state)
    needed = memory.need(header, 1000, 512, 3)
    assert needed.cache == 3 * (2 * cached * 512 + 4 * state)
    assert needed.total == 1000 + needed.cache + needed.buffers + needed.process


def test_the_buffers_are_those_that_llama_cpp_was_seen_to_take(tmp_path: Path) -> None:
    """MiB for batches of 512 tokens, of llama-cpp-python 0.3.36 with flash attention on a CPU."""
    for width, inner, context, measured in (
        (3584, 18944, 4096, 143.3),
        (5120, 13824, 16384, 137.3),
        (2048, 5504, 512, 48.9),
        (576, 1536, 4096, 17.6),
        (640, 2048, 16384, 33.8),
    ):
        header = header_of(tmp_path, embedding_length=width, feed_forward_length=inner, attention__head_count=8)
        assert memory.need(header, 0, context, 3).buffers / MIB == pytest.approx(measured, rel=0.06)


def test_the_logits_of_a_draft_have_room() -> None:
    assert memory.outputs(1) == draft.LONGEST_DRAFT + 1 == memory.FEWEST_OUTPUTS
    assert memory.outputs(17) == 17


# --- what of it fits


def large(tmp_path: Path) -> Header:
    """Qwen2.5-Coder 7B's numbers; its file has 8 GB in Q8_0."""
    return header_of(
        tmp_path,
        block_count=28,
        embedding_length=3584,
        feed_forward_length=18944,
        context_length=32768,
        attention__head_count=28,
        attention__head_count_kv=4,
    )


def test_a_context_shrinks_until_it_fits(tmp_path: Path) -> None:
    header = large(tmp_path)
    whole = memory.fit(header, 8 * GIB, 32768, 3, None)
    assert whole.context == 32768 and whole.main == whole.need.total
    assert memory.fit(header, 8 * GIB, 32768, 3, whole.main).context == 32768
    less = memory.fit(header, 8 * GIB, 32768, 3, 10 * GIB)
    assert 4096 < less.context < 32768 and less.context % memory.CONTEXT_STEP == 0 and less.main <= 10 * GIB
    more = memory.need(header, 8 * GIB, less.context + memory.CONTEXT_STEP, 3)
    assert more.total > 10 * GIB, "no smaller than it must be"
    nothing = memory.fit(header, 8 * GIB, 32768, 3, 4 * GIB)
    assert nothing.context == memory.SMALLEST_CONTEXT and nothing.main > 4 * GIB
    assert memory.fit(header, 8 * GIB, 300, 3, 4 * GIB).context == 300, "never more than was asked for"
    assert memory.fit(header, 8 * GIB, 1 << 20, 1, None).context == 32768, "nor than the model was trained with"


def test_layers_that_do_not_fit_on_the_gpu_stay_on_the_cpu(tmp_path: Path) -> None:
    header = large(tmp_path)
    size, free = 8 * GIB, 32 * GIB
    assert memory.fit(header, size, 4096, 3, free, 9999, 24 * GIB).gpu_layers == 29
    assert memory.fit(header, size, 4096, 3, free, 10, 24 * GIB).gpu_layers == 10
    half = memory.fit(header, size, 4096, 3, free, 9999, 6 * GIB)
    assert 10 < half.gpu_layers < 20 and half.context == 4096
    on_gpu = half.gpu_layers / 29 * (half.need.weights + half.need.cache) + half.need.buffers
    assert on_gpu + memory.GPU_MARGIN <= 6 * GIB
    assert half.main < half.need.total - 4 * GIB, "what is there is not in the main memory"
    assert memory.fit(header, size, 4096, 3, free, 9999, GIB).gpu_layers == 0
    small = memory.fit(header, size, 32768, 3, 8 * GIB, 9999, 6 * GIB)
    assert small.context < 32768 and small.main <= 8 * GIB, "and then the context"


def test_what_shrank_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, context_size=2048, parallelism=16)
    need = Model(settings).memory_needed
    monkeypatch.setattr(machine, "available_memory", lambda: need - 2 * MIB)
    model = Model(settings)
    assert memory.SMALLEST_CONTEXT <= model.context_size < 2048 and model.memory_needed <= need - 2 * MIB
    (note,) = model.notes
    assert f"The context is {model.context_size} tokens instead of 2048" in note and "GiB of memory are free" in note
    assert model.evaluate([5] * 64, 0, 0) is not None
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    assert Model(settings).notes == (), "a system that does not tell limits nothing"


def test_a_model_larger_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000)
    with pytest.raises(ModelError, match=r"does not fit in memory.* 512 tokens.*0\.00 GiB are free\. Use a smaller"):
        Model(SETTINGS)
    monkeypatch.setattr(machine, "available_memory", lambda: 4 * GIB)
    with pytest.raises(ModelError, match=r"0\.00 GiB are free \(4\.00 GiB more are for other models\)"):
        Model(replace(SETTINGS, reserved=4 * GIB))
    monkeypatch.setattr(machine, "available_memory", lambda: 80 * MIB)
    with pytest.raises(ModelError, match=r"Lower parallelism"):
        Model(replace(SETTINGS, parallelism=64))


# --- on what


CPU0 = Device("CPU", "Some Processor", CPU, 8 * GIB, 16 * GIB, 1)
CUDA0 = Device("CUDA0", "Some GPU", GPU, 6 * GIB, 8 * GIB, 2)
CUDA1 = Device("CUDA1", "Another", GPU, 6 * GIB, 8 * GIB, 3)
VULKAN0 = Device("Vulkan0", "In the processor", INTEGRATED, 4 * GIB, 8 * GIB, 4)


@pytest.mark.parametrize(
    "setting, there, expected",
    [
        ("auto", [CPU0], []),
        ("auto", [CPU0, CUDA0, CUDA1, VULKAN0], [CUDA0, CUDA1]),
        ("auto", [VULKAN0, CPU0], [VULKAN0]),
        ("gpu", [CPU0, CUDA0], [CUDA0]),
        ("cpu", [CPU0, CUDA0], []),
        ("CUDA1", [CPU0, CUDA0, CUDA1], [CUDA1]),
        ("cuda1, vulkan0,cuda1", [CPU0, CUDA0, CUDA1, VULKAN0], [CUDA1, VULKAN0]),
        ("CPU", [CPU0, CUDA0], []),
    ],
)
def test_which_devices_a_setting_means(setting: str, there: list[Device], expected: list[Device]) -> None:
    assert devices.chosen(setting, there) == expected


def test_a_device_that_does_not_tell_its_memory_gets_all_layers(tmp_path: Path) -> None:
    assert devices.free_memory([CUDA0, CUDA1]) == 12 * GIB and devices.free_memory([]) == 0
    unknown = devices.free_memory([CUDA0, replace(CUDA1, total=0, free=0)])
    assert unknown is None
    assert memory.fit(large(tmp_path), 8 * GIB, 4096, 3, None, 9999, unknown).gpu_layers == 29


def test_a_device_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(NoSuchDevice, match=r"no device 'metal'.*CPU \(Some Processor\), CUDA0 \(Some GPU\)"):
        devices.chosen("cuda0, metal", [CPU0, CUDA0])
    with pytest.raises(NoSuchDevice, match="no GPU"):
        devices.chosen("gpu", [CPU0])
    with pytest.raises(ModelError, match=r"no device 'cuda7'.*CPU"):
        Model(replace(SETTINGS, device="CUDA7"))


def test_a_gpu_that_this_build_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.llama_cpp, "llama_supports_gpu_offload", lambda: False)
    with pytest.raises(ModelError, match=r"no GPU backend.*doctor"):
        Model(replace(SETTINGS, device="gpu"))


def test_llama_cpp_says_what_it_has() -> None:
    found = devices.devices()
    assert "CPU" in devices.backends() and "CPU" in [each.name for each in found]
    cpu = next(each for each in found if each.name == "CPU")
    assert cpu.kind == CPU and cpu.total > 256 * MIB and not cpu.is_gpu
    assert Model(replace(SETTINGS, device=cpu.name)).gpu_layers == 0


# --- files


def split(folder: Path) -> list[Path]:
    """The starter in three parts or more, as llama.cpp's own tool names them."""
    reader = library.GGUFReader(MODEL)
    writer = library.GGUFWriter(folder / "part.gguf", "qwen2", split_max_tensors=-(-len(reader.tensors) // 3))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind = field.types[0]
            inner = field.types[-1] if kind == library.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


def test_a_model_in_parts_is_loaded_as_one_whichever_is_named(tmp_path: Path) -> None:
    parts = split(tmp_path)
    assert len(parts) == 3 and parts[0].name == "part-00001-of-00003.gguf"
    whole = Model(SETTINGS)
    whole.evaluate(whole.vocab.tokenize("def add(a, b):"), 0, 0)
    for named in parts:
        model = Model(replace(SETTINGS, path=str(named)))
        assert model.path == parts[0]
        assert abs(model.memory_needed - whole.memory_needed) < MIB, "of all parts"
        model.evaluate(model.vocab.tokenize("def add(a, b):"), 0, 0)
        assert np.array_equal(model.logits(), whole.logits())


async def test_a_part_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    parts = split(tmp_path)
    whole = parts[1].read_bytes()
    parts[1].unlink()
    for named in (parts[0], parts[2]):
        reason = await state_of(ModelSettings(str(named)))
        assert f"{named} is one part of a model" in reason and f"{parts[1].name} is missing beside it" in reason
    assert "does not exist" in await state_of(ModelSettings(str(parts[1])))
    parts[1].write_bytes(whole[:-1])
    with pytest.raises(ModelError, match=rf"{parts[1].name} has .* it is incomplete"):
        checked_files(parts[0])
    parts[1].write_bytes(b"")
    with pytest.raises(ModelError, match=rf"{parts[1].name} is empty"):
        checked_files(parts[0])
    parts[1].write_bytes(whole)
    alone = shutil.copy(parts[0], tmp_path / "alone.gguf")
    with pytest.raises(ModelError, match=r"one of 3 parts.*alone-00001-of-00003\.gguf"):
        checked_files(alone)


@pytest.mark.parametrize(
    "name, parts",
    [
        ("a.gguf", ["a.gguf"]),
        ("a-00002-of-00002.gguf", ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]),
        ("a-00003-of-00002.gguf", ["a-00003-of-00002.gguf"]),
        ("a-00000-of-00002.gguf", ["a-00000-of-00002.gguf"]),
    ],
)
def test_the_names_of_parts(name: str, parts: list[str]) -> None:
    assert [each.name for each in gguf.parts_of(Path("folder") / name)] == parts


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"llama__pooling_type": 2}, "turns text into vectors"),
        ({"general__architecture": "clip"}, "projector for pictures"),
        ({"general__type": "adapter"}, "a part of one (adapter)"),
        ({"llama__block_count": 4_000_000_000}, "block_count is 4000000000"),
        ({"llama__embedding_length": 4_000_000_000}, "embedding_length is 4000000000"),
        ({"llama__attention__head_count_kv": [1 << 31] * 2}, "head_count_kv is 2147483648"),
    ],
)
async def test_a_head_that_is_absurd_never_reaches_llama_cpp(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(ggufs.model(**changed))
    reason = await state_of(ModelSettings(str(path)))
    assert str(path) in reason and words in reason


async def test_a_head_that_claims_terabytes(tmp_path: Path) -> None:
    """Of a file of some bytes, and of one that says it is as long as that."""
    claims = ggufs.head(tensors=1) + ggufs.text("t") + (1).to_bytes(4, "little") + (1 << 40).to_bytes(8, "little")
    path = tmp_path / "huge.gguf"
    path.write_bytes(claims + bytes(12))
    assert "it is incomplete" in await state_of(ModelSettings(str(path)))
    os.truncate(path, 1 << 41)  # sparse: nothing of it is on the disk
    assert "it is incomplete" in await state_of(ModelSettings(str(path)))
    os.truncate(path, (1 << 42) + 4096)
    reason = await state_of(ModelSettings(str(path)))
    assert "does not fit in memory" in reason or "cannot be loaded" in reason


# --- a file that changes while it is used


async def test_a_file_may_be_removed_or_replaced_while_its_model_runs(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    shutil.copy(MODEL, path)
    engine = Engine(replace(SETTINGS, path=str(path)), CompletionSettings(confidence=0))
    engine.start()
    try:
        await engine.ready()
        before = await engine.complete(request("def add(a, b):\n    return")).result
        path.unlink()
        assert (await engine.complete(request("def sub(a, b):\n    return")).result).generated
        (tmp_path / "other.gguf").write_bytes(b"GGUF")
        os.replace(tmp_path / "other.gguf", path)
        again = await engine.complete(request("def add(a, b):\n    return")).result
        assert again.text == before.text, "what was loaded is what is used"
    finally:
        await engine.close()
    assert "cut short" in await state_of(ModelSettings(str(path))), "until it is loaded again"


async def test_a_file_that_is_cut_off_under_its_model_is_said_in_a_sentence(tmp_path: Path) -> None:
    """As where another file is being copied over it: what was mapped is gone, and the process with it."""
    path = tmp_path / "model.gguf"
    shutil.copy(MODEL, path)
    engine = Engine(replace(SETTINGS, path=str(path)), CompletionSettings(confidence=0))
    engine.start()
    try:
        await engine.ready()
        os.truncate(path, 4096)
        with pytest.raises(EngineError):
            await engine.complete(request("def add(a, b):\n    return")).result
        with pytest.raises(EngineError, match=r"model\.gguf is cut short"):
            await engine.ready()
    finally:
        await engine.close()

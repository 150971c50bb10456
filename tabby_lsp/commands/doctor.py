"""`tabby-lsp doctor`: one line for each thing that completion needs, and what to do about those that fail."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tabby_lsp import __version__, config
from tabby_lsp.commands.index_check import check_index
from tabby_lsp.commands.options import here, layers_of, start_logging
from tabby_lsp.config import Layer
from tabby_lsp.data import Build, CompletionContext, CompletionInfo, CompletionRequest, ModelInfo, Sampling, from_json
from tabby_lsp.engine import gguf
from tabby_lsp.engine.client import Engine, EngineError
from tabby_lsp.engines import CHAT, NO_CHAT_MODEL, completing, model_settings, same_file
from tabby_lsp.models import overview
from tabby_lsp.models.registry import ModelNotFound
from tabby_lsp.processes import cores, gpus, machine, power
from tabby_lsp.processes.gpus import Gpu
from tabby_lsp.processes.once import Died, output_of
from tabby_lsp.settings import Settings

Show = Callable[[str], None]

GOOD, NOTE, BAD = "ok", "--", "!!"

WITHOUT_GPU = {"CPU", "BLAS", "RPC"}  # backends
# llama.cpp's option for a GPU, what is needed to build it, and a caution: "Supported Backends" in llama-cpp-python's
# documentation (pypi.org/project/llama-cpp-python).
BUILDS = {
    gpus.NVIDIA: ("GGML_CUDA", "NVIDIA's CUDA toolkit", ""),
    gpus.APPLE: ("GGML_METAL", "Xcode's command line tools", ""),
    "ROCm": ("GGML_HIP", "AMD's ROCm", ""),
    gpus.AMD: ("GGML_VULKAN", "the Vulkan SDK", ""),
    gpus.INTEL: ("GGML_VULKAN", "the Vulkan SDK", ", though it may be no faster than the CPU"),
}


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    """It takes none of its own."""


def run(options: argparse.Namespace) -> int:
    start_logging(options, to_file=False)
    layers, problems = layers_of(options, here())
    return asyncio.run(examine(layers, problems, print))


async def examine(layers: Iterable[Layer], problems: Iterable[str], show: Show) -> int:
    """Shows the report, line by line. Returns 1 if completion cannot work here, else 0."""
    settings, more = config.merge(tuple(layers))
    _line(show, GOOD, "tabby-lsp", f"{__version__}, Python {platform.python_version()} on {platform.platform()}")
    build = _build(show)
    if build is not None:
        _gpu(build, gpus.gpus(), show)
    if scarce := power.Look().reason(0.0):
        _line(show, NOTE, "energy", f"{scarce}: nothing is read ahead, and half of the threads compute")
    _settings([*problems, *more], show)
    _folder(show)
    check_index(settings, here(), lambda well, what, text: _line(show, GOOD if well else NOTE, what, text))
    completes = await _model(settings, show)
    _chat(settings, show)
    return 0 if completes and build is not None else 1


def _line(show: Show, mark: str, what: str, text: str) -> None:
    first, *rest = text.splitlines() or [""]
    show(f"{mark} {what + ':':<10} {first}")
    for each in rest:
        show(f"{'':<14}{each}")


def _build(show: Show) -> Build | None:
    # In a process of its own, since a llama.cpp that was built for another processor dies of an illegal instruction.
    try:
        build = from_json(Build, json.loads(output_of("tabby_lsp.engine.build", 60)))
    except Died as error:
        _line(show, BAD, "llama.cpp", f"cannot be loaded: {error}\nReinstall llama-cpp-python on this machine.")
        return None
    text = f"llama-cpp-python {build.version} ({' '.join(build.features)})\nbackends: {', '.join(build.backends)}"
    _line(show, GOOD, "llama.cpp", f"{text}\ndevices: {', '.join(build.devices)}")
    return build


def _gpu(build: Build, found: Sequence[Gpu], show: Show) -> None:
    """Whether llama.cpp can use what the machine seems to have, and what would change that."""
    if not found:
        return
    best = found[0]
    names = ", ".join(each.name for each in found)
    if build.gpus:
        _line(show, GOOD, "gpu", f"{names}; llama.cpp can use {build.gpus}")
    elif set(build.backends) - WITHOUT_GPU:
        _line(show, NOTE, "gpu", f"{names}; llama.cpp has a backend for it, but finds none: look after its driver.")
    else:
        flag, kit, caution = BUILDS[_way(best)]
        text = f"{names}, which this llama.cpp cannot use. With {kit} installed this builds one that can{caution}:"
        _line(show, NOTE, "gpu", f"{text}\n{rebuilding(flag, build.version, sys.platform == 'win32')}")


def _way(best: Gpu) -> str:
    """How llama.cpp computes on a GPU: AMD's own way where its compiler is here, else one that runs on all."""
    return "ROCm" if best.vendor == gpus.AMD and shutil.which("hipcc") else best.vendor


def rebuilding(flag: str, version: str, windows: bool) -> str:
    """The command that builds the installed version anew, with a backend."""
    install = f"{sys.executable} -m pip install --force-reinstall --no-deps --no-cache-dir llama-cpp-python=={version}"
    return f'$env:CMAKE_ARGS = "-D{flag}=on"; {install}' if windows else f'CMAKE_ARGS="-D{flag}=on" {install}'


def _settings(problems: list[str], show: Show) -> None:
    path = config.tabby_root() / "config.toml"
    where = str(path) if path.exists() else f"{path} (not there: the defaults apply)"
    _line(show, NOTE if problems else GOOD, "settings", "\n".join([where, *problems]))


def _folder(show: Show) -> None:
    folder = config.data_folder()
    try:
        for each in (folder, folder / "logs"):
            machine.private_folder(each)
        probe = folder / "logs" / ".probe"
        machine.private_file(probe)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        _line(show, NOTE, "folder", f"{folder} cannot be written ({error.strerror}): there will be no log file.")
    else:
        _line(show, GOOD, "folder", f"{folder} can be written")


async def _model(settings: Settings, show: Show) -> bool:
    try:
        engine = completing(settings)
    except ModelNotFound as error:
        _line(show, BAD, "model", str(error))
        return False
    engine.start()
    try:
        _describe(*await engine.ready_to_complete(), engine, show)
        return await _try(engine, show)
    except EngineError as error:
        _line(show, BAD, "model", str(error))
        return False
    finally:
        await engine.close()


def _chat(settings: Settings, show: Show) -> None:
    """The model of chat, which is not loaded for this: completion works without one."""
    local = settings.model.chat.local
    if not local.model_id:
        _line(show, NOTE, "chat", NO_CHAT_MODEL)
        return
    try:
        path = model_settings(settings, CHAT).path
    except ModelNotFound as error:
        _line(show, BAD, "chat", str(error))
        return
    try:
        needed = overview.memory_of_file(Path(path), local)
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {error.strerror}." if isinstance(error, OSError) else str(error)
        _line(show, BAD, "chat", f"{path} {reason}")
        return
    beside = 0
    with contextlib.suppress(ModelNotFound, OSError, ValueError):  # said above
        completion = model_settings(settings).path
        if same_file(path, completion):
            _line(show, GOOD, "chat", f"{path}\nthe model of completion, which is loaded once")
            return
        beside = overview.memory_of_file(Path(completion), settings.model.completion.local)
    use = f"needs {needed / 2**20:.0f} MiB beside the {beside / 2**20:.0f} MiB of completion"
    free = machine.available_memory()
    if free is not None:
        use += f"; {free / 2**20:.0f} MiB are free"
    fits = free is None or needed + beside <= free
    _line(show, GOOD if fits else NOTE, "chat", f"{path}\n{use}\nloaded when it is first needed")


def _describe(info: ModelInfo, completion: CompletionInfo, engine: Engine, show: Show) -> None:
    size = sum(file.stat().st_size for file in gguf.parts_of(Path(info.path)))
    _line(show, GOOD, "model", f"{info.name}: {info.description}, {size / 1e6:.1f} MB\n{info.path}")
    known = completion.family != "none"
    fim = f"{completion.family}, {completion.layout}" if known else "none: text before the cursor only"
    notes = engine.state.notes
    _line(show, NOTE if notes else GOOD, "prompt", "\n".join([f"FIM family {fim}", *notes]))
    layers = f", {info.gpu_layers} layers on the GPU" if info.gpu_layers else ""
    _line(
        show,
        GOOD,
        "device",
        f"{info.device}{layers}, {info.threads} threads ({_cores()}); reads {info.prefill_rate:.0f} tokens/s\n"
        f"prompts of up to {completion.max_prompt_tokens} tokens, context {info.context_size}, "
        f"{info.parallelism} documents in the KV cache",
    )
    free = machine.available_memory()
    held = machine.resident_memory(engine.pid) if engine.pid else None
    parts = [f"needs {info.memory_needed / 2**20:.0f} MiB for weights, KV cache, buffers and its process"]
    if held:
        parts.append(f"the engine holds {held / 2**20:.0f} MiB")
    if free:
        parts.append(f"{free / 2**20:.0f} MiB are free")
    _line(show, GOOD, "memory", "; ".join(parts))


def _cores() -> str:
    found = cores.cores()
    slower = f", {found.fast} of them fast" if found.fast < found.physical else ""
    return f"{found.physical} cores{slower}"


async def _try(engine: Engine, show: Show) -> bool:
    """Completes a line, as proof."""
    context = CompletionContext("def add(a, b):\n    return", "", "\n", path="add.py", language="python")
    sampling = replace(Sampling(), max_tokens=16)
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        completion = await engine.complete(CompletionRequest("doctor", context, sampling)).result
    except EngineError as error:
        _line(show, BAD, "completion", str(error))
        return False
    elapsed = (loop.time() - start) * 1000
    _line(
        show, GOOD, "completion", f"`return` → {completion.text!r} in {elapsed:.0f} ms ({completion.generated} tokens)"
    )
    return True

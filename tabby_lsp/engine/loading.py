"""From a GGUF file to a model in memory, and every reason why there is none, said so that the user can act on it."""

from __future__ import annotations

import collections
import ctypes
import logging
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp

from tabby_lsp.data import ModelSettings
from tabby_lsp.engine import gguf, memory
from tabby_lsp.engine.devices import Device, NoSuchDevice, as_array, chosen, devices, free_memory
from tabby_lsp.engine.gguf import Header, HeaderError
from tabby_lsp.engine.memory import Fit
from tabby_lsp.processes import machine

log = logging.getLogger(__name__)

NEWER = f"{sys.executable} -m pip install --upgrade llama-cpp-python"


class ModelError(Exception):
    """A model that cannot be used, said so that the user knows what to do. `room`: bytes that it may take, if it needs
    more."""

    def __init__(self, reason: str, room: int | None = None) -> None:
        super().__init__(reason)
        self.room = room


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a model: the first of them, which llama.cpp is given, its head, and the bytes of all."""

    path: Path
    header: Header
    size: int


def checked_files(path: Path) -> Files:
    """The files of the model that a path names, which may be any of its parts. Raises ModelError."""
    parts = gguf.parts_of(path)
    for each in (path, *parts):
        _check_kind(each, path)
    try:
        header = gguf.check(parts[0])
        for each in parts[1:]:
            gguf.read_header(each)
        size = sum(each.stat().st_size for each in parts)
    except HeaderError as error:
        raise ModelError(f"{_which_is_bad(parts)} {error}") from None
    except OSError as error:
        raise ModelError(_unreadable(path, error)) from None
    if len(parts) == 1 and header.parts > 1:
        raise ModelError(
            f"{path} is one of {header.parts} parts of a model, which llama.cpp knows by their names: name them "
            f"{path.stem}-00001-of-{header.parts:05}{path.suffix} and so on, in one folder."
        )
    return Files(parts[0], header, size)


def _check_kind(path: Path, named: Path) -> None:
    """Raises ModelError if there is no file to read."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        if path != named:
            raise ModelError(f"{named} is one part of a model, of which {path.name} is missing beside it.") from None
        raise ModelError(f"The model file {path} does not exist. Set `model_id` to a GGUF file that does.") from None
    except (OSError, ValueError) as error:
        raise ModelError(_unreadable(path, error)) from None
    if stat.S_ISDIR(kind):
        raise ModelError(f"{path} is a folder, not a GGUF file.")
    if not stat.S_ISREG(kind):  # to open a pipe would wait for its other end
        raise ModelError(f"{path} is no regular file, but a pipe or a device. Name a GGUF file.")


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return f"The model file {path} cannot be read: {reason}."


def _which_is_bad(parts: list[Path]) -> Path:
    """The first of a model's files whose head is damaged."""
    for each in parts:
        try:
            gguf.read_header(each)
        except (HeaderError, OSError):
            return each
    return parts[0]


def gpus(settings: ModelSettings) -> list[Device]:
    """What a model is put on beside the CPU. Raises ModelError."""
    if settings.device == "gpu" and not llama_cpp.llama_supports_gpu_offload():
        raise ModelError(
            "This build of llama.cpp has no GPU backend. `tabby-lsp doctor` says how to get one that has; or set "
            "`device` to `cpu`."
        )
    try:
        return chosen(settings.device, devices())
    except NoSuchDevice as error:
        raise ModelError(str(error)) from None


def fitted(files: Files, settings: ModelSettings, selected: list[Device]) -> tuple[Fit, tuple[str, ...]]:
    """How a model is loaded so that it fits, and what the user should know of that. Raises ModelError."""
    free = machine.available_memory()
    if free is not None:
        free = max(0, free - settings.reserved)
    wanted = min(settings.context_size, files.header.context_length or settings.context_size)
    layers = min(settings.gpu_layers, files.header.layers + 1) if selected else 0
    sequences = settings.parallelism + memory.SPARE_SEQUENCES
    free_gpu = free_memory(selected)
    fit = memory.fit(files.header, files.size, wanted, sequences, free, layers, free_gpu)
    need = fit.need
    if free is not None and fit.main > free:
        fixed = f"{_gib(need.weights)} of weights, {_gib(need.cache + need.buffers)} of KV cache and buffers"
        held_back = f" ({_gib(settings.reserved)} more are for other models)" if settings.reserved else ""
        advice = "Lower parallelism, or use a smaller model" if need.cache > need.weights else "Use a smaller model"
        raise ModelError(
            f"{files.path} does not fit in memory: with a context of {fit.context} tokens it needs {_gib(fit.main)} "
            f"({fixed}), {_gib(free)} are free{held_back}. {advice}.",
            room=free,
        )
    said = []
    if fit.gpu_layers < layers and free_gpu is not None:
        on_gpu = f"{fit.gpu_layers} of {layers} layers of this model are on the GPU"
        said.append(f"{on_gpu}: of its memory {_gib(free_gpu)} are free")
    if fit.context < wanted and free is not None:
        said.append(
            f"The context is {fit.context} tokens instead of {wanted}: {_gib(free)} of memory are free, and with more "
            f"the model would take {_gib(memory.need(files.header, files.size, wanted, sequences).total)}"
        )
    return fit, tuple([". ".join(said) + "."] if said else [])


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def load(
    path: Path,
    gpu_layers: int,
    selected: list[Device],
    repacked: bool,
    progress: Callable[[float], bool],
    lines: collections.deque[str],
) -> Any:
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    array = as_array(selected if gpu_layers else [])
    params.devices = ctypes.cast(array, ctypes.c_void_p)
    params.use_extra_bufts = repacked
    callback = llama_cpp.llama_progress_callback(lambda share, _: progress(share))
    params.progress_callback = callback
    # SentencePiece tokenizers put a blank before every text they are given. The templates say where one belongs.
    overrides: Any = (llama_cpp.llama_model_kv_override * 2)()
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_BOOL
    overrides[0].key = b"tokenizer.ggml.add_space_prefix"
    overrides[0].value.val_bool = False
    params.kv_overrides = overrides
    handle = llama_cpp.llama_model_load_from_file(str(path).encode("utf-8"), params)
    if not handle:
        raise ModelError(f"{path} cannot be loaded: {_load_failure(lines)}")
    return handle


def _load_failure(lines: collections.deque[str]) -> str:
    text = "\n".join(lines)
    architecture = re.search(r"unknown model architecture: '([^']*)'", text)
    if architecture:
        return (
            f"this llama.cpp (that of llama-cpp-python {llama_cpp.__version__}) does not know the architecture "
            f"{architecture[1]!r}. A newer one may: `{NEWER}`, or take another model."
        )
    if re.search(r"not within the file bounds|failed to read|incomplete|unexpectedly reached end", text):
        return "the file is incomplete or damaged. Download it again."
    if "key not found in model: tokenizer.ggml.model" in text:
        return "it holds no tokenizer. Take a file that was converted with one."
    if "unknown pre-tokenizer type" in text:
        return f"{_reason(lines)}. A newer llama-cpp-python than {llama_cpp.__version__} may know it: `{NEWER}`."
    return f"{_reason(lines)}."


def _reason(lines: collections.deque[str]) -> str:
    """llama.cpp's own: the innermost of its errors, each of which says again that loading failed."""
    for line in lines:
        if match := re.search(r"error loading model(?: \w+)?: (.*)", line):
            return match[1].split("error loading model vocabulary: ")[-1].rstrip(".")
    return last_line(lines)


def last_line(lines: collections.deque[str]) -> str:
    return lines[-1].rstrip(".") if lines else "llama.cpp gave no reason"


# llama.cpp keeps the pointer: the callback must live as long as the process.
_log_callback: Any = None


def listen_to_log() -> collections.deque[str]:
    """The last warnings and errors of llama.cpp, which otherwise writes hundreds of lines to stderr."""
    global _log_callback
    lines: collections.deque[str] = collections.deque(maxlen=30)

    def listen(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level >= 3 and line and line != ".":  # 3 warning, 4 error, 5 goes on with the line before
            lines.append(line)
            log.debug("llama.cpp: %s", line)

    _log_callback = llama_cpp.llama_log_callback(listen)
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    return lines

"""From a GGUF file to a model in memory, and every reason why there is none, said so that the user can act on it."""

from __future__ import annotations

import collections
import ctypes
import logging
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp

from tabby_lsp.data import ModelSettings
from tabby_lsp.processes import machine

log = logging.getLogger(__name__)


class ModelError(Exception):
    """A model that cannot be used, said so that the user knows what to do."""


def checked_size(path: Path) -> int:
    """Bytes of a GGUF file and its further parts. Raises ModelError."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ModelError(f"{path} is a folder, not a GGUF file.")
        if not stat.S_ISREG(kind):  # to open a pipe would wait for its other end
            raise ModelError(f"{path} is no regular file, but a pipe or a device. Name a GGUF file.")
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        advice = "Set model.completion.local.model_id to a GGUF file."
        raise ModelError(f"The model file {path} does not exist. {advice}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"The model file {path} cannot be read: {reason}.") from None
    if magic != b"GGUF":
        raise ModelError(
            f"{path} is not a GGUF file (it begins with {magic!r}). Convert the model, or download a GGUF."
        )
    parts = re.fullmatch(r"(.*)-00001-of-(\d{5})", path.stem)
    if not parts:
        return path.stat().st_size
    count = int(parts[2])
    files = [path.with_name(f"{parts[1]}-{i:05}-of-{count:05}{path.suffix}") for i in range(1, count + 1)]
    missing = [each.name for each in files if not each.exists()]
    if missing:
        raise ModelError(f"{path} has {count} parts, of which {', '.join(missing)} is missing beside it.")
    return sum(each.stat().st_size for each in files)


def gpu_layers(settings: ModelSettings) -> int:
    possible = bool(llama_cpp.llama_supports_gpu_offload())
    if settings.device == "gpu" and not possible:
        raise ModelError(
            "This build of llama.cpp has no GPU backend. Reinstall it with one (for example CMAKE_ARGS=-DGGML_CUDA=on "
            "pip install --force-reinstall --no-cache-dir llama-cpp-python), or set "
            "model.completion.local.device to cpu."
        )
    return settings.gpu_layers if possible and settings.device != "cpu" else 0


def check_memory(path: Path, weights: int, rest: int, what: str, reserved: int) -> None:
    """Raises ModelError if a model does not fit beside what is `reserved` for others."""
    available = machine.available_memory()
    available = None if available is None else max(0, available - reserved)
    if available is not None and weights + rest > available:
        held_back = f" ({_gib(reserved)} more are for other models)" if reserved else ""
        parts = f" ({_gib(weights)} of weights, {_gib(rest)} of KV cache and buffers)" if rest else ""
        advice = "Lower context_size or parallelism, or use a smaller model" if rest else "Use a smaller model"
        raise ModelError(
            f"{path} does not fit in memory: {what} {_gib(weights + rest)}{parts}, "
            f"{_gib(available)} are free{held_back}. {advice}."
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def load(
    path: Path, gpu_layers: int, repacked: bool, progress: Callable[[float], bool], lines: collections.deque[str]
) -> Any:
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
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
            f"this llama.cpp (llama-cpp-python {llama_cpp.__version__}) does not know the architecture "
            f"{architecture[1]!r}. A newer llama-cpp-python may."
        )
    if "CLIP cannot be used as main model" in text:
        return "it is a projector for pictures (mmproj), no language model. Name the model's other file."
    if re.search(r"not within the file bounds|failed to read|incomplete|unexpectedly reached end", text):
        return "the file is incomplete or damaged. Download it again."
    if "key not found in model: tokenizer.ggml.model" in text:
        return "it holds no tokenizer. Take a file that was converted with one."
    if "unknown pre-tokenizer type" in text:
        return f"{_reason(lines)}. A newer llama-cpp-python than {llama_cpp.__version__} may know it."
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

"""What the installed llama.cpp can compute on: its backends, and the devices that they have found on this machine."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp

# Kinds of devices (ggml-backend.h, enum ggml_backend_dev_type).
CPU, GPU, INTEGRATED, ACCELERATOR = range(4)


@dataclass(frozen=True, slots=True)
class Device:
    """One that llama.cpp can compute on. `handle` is its pointer; memory is in bytes, 0 where it is not told."""

    name: str  # CPU, CUDA0, Vulkan1, …
    description: str
    kind: int
    free: int
    total: int
    handle: int

    @property
    def is_gpu(self) -> bool:
        return self.kind in (GPU, INTEGRATED)


class NoSuchDevice(ValueError):
    """A name in the setting `device` that means nothing here; the text says which do."""


def devices() -> list[Device]:
    """All devices, the CPU among them."""
    ggml = _ggml()
    found = []
    for place in range(ggml.ggml_backend_dev_count()):
        handle = ggml.ggml_backend_dev_get(place)
        free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
        ggml.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
        name, text = ggml.ggml_backend_dev_name(handle), ggml.ggml_backend_dev_description(handle)
        kind = ggml.ggml_backend_dev_type(handle)
        found.append(Device(_text(name), _text(text), kind, free.value, total.value, handle))
    return found


def backends() -> list[str]:
    """What llama.cpp was built with: CPU, CUDA, Metal, …"""
    ggml = _ggml()
    handles = [ggml.ggml_backend_reg_get(place) for place in range(ggml.ggml_backend_reg_count())]
    return [_text(ggml.ggml_backend_reg_name(each)) for each in handles]


def chosen(setting: str, available: Sequence[Device]) -> list[Device]:
    """The GPUs that the setting `device` means: none for `cpu`, those that llama.cpp takes for `auto` and `gpu`, else
    the ones that are named. Raises NoSuchDevice.
    """
    gpus = [each for each in available if each.is_gpu]
    if setting == "cpu":
        return []
    if setting in ("auto", "gpu"):
        if setting == "gpu" and not gpus:
            raise NoSuchDevice(
                "This llama.cpp has found no GPU. `tabby-lsp doctor` says whether another build of it would; or set "
                "`device` to `cpu`."
            )
        # One that shares the main memory is taken only where there is no other (llama.cpp, src/llama.cpp).
        return [each for each in gpus if each.kind == GPU] or gpus[:1]
    by_name = {each.name.lower(): each for each in available}
    names = [each.strip().lower() for each in setting.split(",")]
    unknown = [each for each in names if each not in by_name]
    if unknown:
        there = ", ".join(f"{each.name} ({each.description})" for each in available)
        raise NoSuchDevice(f"There is no device {unknown[0]!r} (the setting `device`). llama.cpp has found {there}.")
    return [by_name[each] for each in dict.fromkeys(names) if by_name[each].is_gpu]


def free_memory(selected: Sequence[Device]) -> int | None:
    """Bytes that are free on some devices together; None if one of them does not tell."""
    return sum(each.free for each in selected) if all(each.total for each in selected) else None


def as_array(selected: Sequence[Device]) -> Any:
    """For `llama_model_params.devices`: the pointers, with a null at their end."""
    return (ctypes.c_void_p * (len(selected) + 1))(*(each.handle for each in selected), None)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace").strip()


def _ggml() -> Any:
    """The library with the types of what is called here."""
    from llama_cpp._ggml import libggml

    llama_cpp.llama_backend_init()
    size, pointer, text = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
    sizes = ctypes.POINTER(size)
    for name, result, arguments in (
        ("ggml_backend_dev_count", size, []),
        ("ggml_backend_dev_get", pointer, [size]),
        ("ggml_backend_dev_name", text, [pointer]),
        ("ggml_backend_dev_description", text, [pointer]),
        ("ggml_backend_dev_type", ctypes.c_int, [pointer]),
        ("ggml_backend_dev_memory", None, [pointer, sizes, sizes]),
        ("ggml_backend_reg_count", size, []),
        ("ggml_backend_reg_get", pointer, [size]),
        ("ggml_backend_reg_name", text, [pointer]),
    ):
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    return libggml

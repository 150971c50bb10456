"""What the installed llama.cpp was built with, for `doctor`: run as a process of its own, which prints it as JSON."""

from __future__ import annotations

import ctypes
import json
import re
import sys

import llama_cpp


def main() -> None:
    sys.stdout.write(json.dumps(build_information()))


def build_information() -> tuple[str, list[str]]:
    """llama-cpp-python's version with llama.cpp's CPU features, and the devices it was built for."""
    llama_cpp.llama_backend_init()
    system = llama_cpp.llama_print_system_info().decode("utf-8", "replace")
    features = [name for name, value in re.findall(r"(\w+) = (\d+)", system) if value == "1"]
    return f"llama-cpp-python {llama_cpp.__version__} ({' '.join(features)})", _devices()


def _devices() -> list[str]:
    from llama_cpp._ggml import libggml

    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    found = []
    for call in (libggml.ggml_backend_dev_name, libggml.ggml_backend_dev_description):
        call.restype, call.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    for i in range(libggml.ggml_backend_dev_count()):
        device = libggml.ggml_backend_dev_get(i)
        name, description = libggml.ggml_backend_dev_name(device), libggml.ggml_backend_dev_description(device)
        found.append(f"{name.decode()} ({description.decode('utf-8', 'replace').strip()})")
    return found

"""What the installed llama.cpp was built with, for `doctor`: run as a process of its own, which prints it as JSON."""

from __future__ import annotations

import json
import re
import sys

import llama_cpp

from tabby_lsp.data import Build, to_json
from tabby_lsp.engine import devices


def main() -> None:
    sys.stdout.write(json.dumps(to_json(build())))


def build() -> Build:
    found = devices.devices()
    system = llama_cpp.llama_print_system_info().decode("utf-8", "replace")
    features = [name for name, value in re.findall(r"(\w+) = (\d+)", system) if value == "1"]
    return Build(
        version=llama_cpp.__version__,
        features=tuple(features),
        backends=tuple(devices.backends()),
        devices=tuple(f"{each.name} ({each.description})" for each in found),
        gpus=sum(each.is_gpu for each in found),
    )

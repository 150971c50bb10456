"""Builds llama.cpp's own programs from the source inside the llama-cpp-python sdist, of the version installed here.

    python tests/bench/llama_server.py DIR [--sdist FILE] [--jobs N]

`llama-server` is what the peers of a replay run on, `llama-bench` measures what the engine's rates are held against;
the first one's path is printed. It takes some minutes of all cores it is given (`--jobs`), at the lowest priority. The
options are those of llama-cpp-python's own build, so that both sides compute with the same code; without the web page
and HTTPS, nothing is downloaded but the sdist (and cmake and ninja, where the machine has none).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "llama-cpp-python"
TARGETS = ("llama-server", "llama-bench")
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",  # programs that can be moved
    "GGML_NATIVE": "ON",
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # which would be downloaded
    "LLAMA_OPENSSL": "OFF",
}


def run(command: Sequence[str | Path]) -> None:
    """What it says goes to stderr: stdout is for the result."""
    print("$", *command, file=sys.stderr, flush=True)
    subprocess.run([str(part) for part in command], stdout=sys.stderr, check=True)


def download(folder: Path, version: str) -> Path:
    found = list(folder.glob(f"llama_cpp_python-{version}.tar.gz"))
    if not found:
        wanted = f"{PACKAGE}=={version}"
        run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "-d", folder, wanted])
        found = list(folder.glob(f"llama_cpp_python-{version}.tar.gz"))
    return found[0]


def unpack(sdist: Path, folder: Path) -> Path:
    """The folder of llama.cpp's source."""
    source = folder / "source"
    if not source.exists():
        with tarfile.open(sdist) as archive:
            archive.extractall(source, filter="data")
    return next(source.glob("*/vendor/llama.cpp"))


def build_tools(folder: Path) -> tuple[Path, Path]:
    """cmake and ninja: the machine's, or those that pip has."""
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if cmake and ninja:
        return Path(cmake), Path(ninja)
    target = folder / "tools"
    if not target.exists():
        run([sys.executable, "-m", "pip", "install", "--target", target, "cmake", "ninja"])
    suffix = ".exe" if sys.platform == "win32" else ""
    return next(target.rglob(f"bin/cmake{suffix}")), next(target.rglob(f"bin/ninja{suffix}"))


def build(source: Path, folder: Path, jobs: int) -> Path:
    """The path of llama-server; llama-bench lies beside it."""
    cmake, ninja = build_tools(folder)
    made = folder / "build"
    options = [f"-D{name}={value}" for name, value in {**OPTIONS, "CMAKE_MAKE_PROGRAM": ninja}.items()]
    run([cmake, "-G", "Ninja", "-S", source, "-B", made, *options])
    run([cmake, "--build", made, "--parallel", str(jobs), "--target", *TARGETS])
    return next(path for path in made.glob("bin/llama-server*") if path.suffix in ("", ".exe"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="everything is put in here, and found again")
    parser.add_argument("--sdist", type=Path, help="a llama_cpp_python-*.tar.gz that is there already")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once")
    arguments = parser.parse_args()
    if hasattr(os, "nice"):
        os.nice(19)
    place = arguments.folder.absolute()
    place.mkdir(parents=True, exist_ok=True)
    archive_file = arguments.sdist or download(place, importlib.metadata.version(PACKAGE))
    print(build(unpack(archive_file, place), place, arguments.jobs))

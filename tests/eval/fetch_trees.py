"""Fetches the pinned packages of trees.toml and lays out their sources, for search.py.

    python tests/eval/fetch_trees.py DIR

Needs the network, and of pip, npm, apt-get and dpkg-deb those that the packages come by. A package that cannot be had,
or whose bytes are not those that the questions were written for, is skipped with a reason; the others go on.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
COMMANDS = {"npm": ["npm", "pack", "--silent"], "pypi": PIP, "debian": ["apt-get", "download", "--quiet"]}


class Skipped(Exception):
    """This tree cannot be had; the text says why."""


def trees() -> dict[str, dict[str, Any]]:
    return tomllib.loads((HERE / "trees.toml").read_text(encoding="utf-8"))


def fetch(tree: dict[str, Any], target: Path) -> None:
    """Raises Skipped."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        command = [*COMMANDS[tree["from"]], tree["package"]]
        if shutil.which(command[0]) is None:
            raise Skipped(f"{command[0]} is not installed")
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        archives = list(place.iterdir())
        if done.returncode or len(archives) != 1:
            raise Skipped(f"{' '.join(command)}: {(done.stderr.strip().splitlines() or ['nothing came'])[-1]}")
        found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
        if found != tree["sha256"]:
            raise Skipped(f"{archives[0].name} is not what it was: its SHA-256 is {found}")
        unpacked = place / "unpacked"
        unpacked.mkdir()
        if tree["from"] == "debian":
            subprocess.run(["dpkg-deb", "-x", archives[0], unpacked], check=True)
        else:
            with tarfile.open(archives[0]) as archive:
                archive.extractall(unpacked, filter="data")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(unpacked / tree["keep"], target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the trees are laid out, outside of a checkout")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, tree in trees().items():
        if "package" not in tree:
            continue
        try:
            fetch(tree, options.folder / name)
            print(f"{name:<12} {tree['package']}, {tree['licence']}")
        except (Skipped, OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            print(f"{name:<12} skipped: {error}")


if __name__ == "__main__":
    main()

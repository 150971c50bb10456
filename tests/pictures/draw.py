"""Draws what a person sees of the models, from the real thing: the commands at a terminal, the offer in Neovim.

    python tests/pictures/draw.py [--only NAME …] [--model FILE …] [--nvim PROGRAM]

`models`, `recommend` and `doctor` are run in a home directory that has nothing in it but the given files, where LM
Studio would keep them. `offer` and `download` are a real Neovim in tmux, whose hub is one on the loopback: it has the
length and the name of the real file, and sends twelve megabytes a second of nothing. Writes NAME.svg beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import html
import os
import platform
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

import ggufs  # noqa: E402
from hub import REPOSITORY, Hub, running  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.style import Style  # noqa: E402
from rich.text import Text  # noqa: E402

from tabby_lsp.models import offer  # noqa: E402
from tabby_lsp.settings import Settings  # noqa: E402

COLUMNS, ROWS = 120, 24
CHARACTER, LINE = 8.4, 18  # of a font of 14 pixels
PAPER, INK = "#14161b", "#e0e2ea"  # Neovim's own
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SECONDS = 120.0


def run(command: list[str], environment: Mapping[str, str]) -> str:
    """What a command writes to a terminal, with its colours. Raises SystemExit if it fails."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir("/")
        os.execvpe(command[0], command, dict(environment))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    said = b""
    with contextlib.suppress(OSError):  # it has ended
        while data := os.read(terminal, 1 << 16):
            said += data
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise SystemExit(said.decode())
    return said.decode().replace("\r\n", "\n")


@dataclass(frozen=True)
class Tmux:
    """A program in a terminal that a person could sit at."""

    command: list[str]

    def keys(self, *keys: str) -> None:
        subprocess.run([*self.command, "send-keys", *keys], check=True)

    def screen(self) -> str:
        shown = subprocess.run([*self.command, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True)
        return shown.stdout

    def until(self, wanted: Callable[[str], bool]) -> str:
        end = time.monotonic() + SECONDS
        while not wanted(now := self.screen()):
            if time.monotonic() > end:
                raise SystemExit(f"It never came:\n{now}")
            time.sleep(0.2)
        return now


@contextlib.contextmanager
def tmux(program: list[str], environment: Mapping[str, str], rows: int) -> Iterator[Tmux]:
    command = ["tmux", "-L", f"tabby-lsp-{os.getpid()}"]
    size = ["-x", str(COLUMNS), "-y", str(rows)]
    session = [*command, "-f", os.devnull, "new-session", "-d", *size, "-c", environment["HOME"], *program]
    subprocess.run(session, env={**environment, "TERM": "tmux-256color"}, check=True)
    try:
        yield Tmux(command)
    finally:
        subprocess.run([*command, "kill-server"], check=True)


def draw(screen: str, path: Path, label: str) -> None:
    """A terminal's text as a picture; colours are those that it was written in."""
    written = Text.from_ansi(screen.rstrip()).split("\n", allow_blank=True)
    lines = [part for line in written for part in line.divide(range(COLUMNS, len(line), COLUMNS))]  # as terminals do
    console = Console(width=COLUMNS, color_system="truecolor", file=open(os.devnull, "w"))
    width, height = round(COLUMNS * CHARACTER) + 28, len(lines) * LINE + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{html.escape(label)}">',
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>',
        f'<g font-family="{FONTS}" font-size="14" xml:space="preserve">',
    ]
    for row, line in enumerate(lines):
        column = 0
        for segment in line.render(console):
            parts += _pieces(segment.text.rstrip("\n"), segment.style or Style(), column, row)
            column += len(segment.text)
    path.write_text("\n".join([*parts, "</g>", "</svg>", ""]), encoding="utf-8")


def _pieces(text: str, style: Style, column: int, row: int) -> Iterator[str]:
    if not text:
        return
    ink, paper = _colour(style.color, INK), _colour(style.bgcolor, PAPER)
    if style.reverse:
        ink, paper = paper, ink
    x, width = 14 + column * CHARACTER, len(text) * CHARACTER
    if paper != PAPER:
        yield f'<rect x="{x:.1f}" y="{12 + row * LINE}" width="{width:.1f}" height="{LINE}" fill="{paper}"/>'
    weight = ' font-weight="bold"' if style.bold else ""
    for words in re.finditer(r"\S+(?: \S+)*", text):  # columns stand, whatever font there is
        begin, length = x + words.start() * CHARACTER, len(words[0]) * CHARACTER
        yield (
            f'<text x="{begin:.1f}" y="{26 + row * LINE}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs" '
            f'fill="{ink}"{weight}>{html.escape(words[0])}</text>'
        )


def _colour(colour: object, otherwise: str) -> str:
    found = getattr(colour, "get_truecolor", None)
    is_default = getattr(colour, "is_default", True)
    return otherwise if found is None or is_default else str(found().hex)


def environment_in(home: Path) -> dict[str, str]:
    """Nothing of whoever draws but the search path."""
    (home / ".tabby").mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLORTERM": "truecolor"}


def command(name: str, home: Path) -> str:
    arguments = {"models": ["models"], "recommend": ["models", "recommend"], "doctor": ["doctor"]}[name]
    said = run([sys.executable, "-m", "tabby_lsp", *arguments], environment_in(home))
    release = platform.release()
    shown = said.replace(str(home), "~").replace(f"{ROOT}{os.sep}", "").replace(release, release.partition("-")[0])
    return f"\x1b[1m$ tabby-lsp {' '.join(arguments)}\x1b[0m\n{shown}"


def three_interruptions(home: Path) -> str:
    """A download that is broken off three times by Ctrl-C and asked for a fourth time, from a hub on the loopback."""
    data = ggufs.model(64_000_000)
    typed = f"tabby-lsp models get {REPOSITORY}"
    with running(Hub({"small-q8_0.gguf": data}, pause=0.0005)) as hub:
        environment = {**environment_in(home), "HF_ENDPOINT": hub.address, "PS1": "$ "}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        with tmux(["bash", "--norc", "--noprofile"], environment, 40) as terminal:
            terminal.until(lambda screen: screen.rstrip() == "$")
            for _ in range(3):
                terminal.keys(typed, "Enter")
                terminal.until(lambda screen: re.search(r"\d/64\.0 MB.*0:", screen) is not None)
                time.sleep(1)
                terminal.keys("C-c")
                terminal.until(lambda screen: screen.rstrip().endswith("on.\n$"))
            terminal.keys(typed, "Enter")
            screen = terminal.until(lambda screen: "uses it" in screen)
        asked = sum(path.startswith("/api/") for path, _ in hub.requests)
        sent = (hub.sent - asked * len(hub.listing())) / len(data)
    sys.stderr.write(f"the hub sent {sent:.3f} times the bytes of the file\n")
    return screen.replace(str(home), "~")


INIT = """
vim.opt.rtp:append('{plugin}')
vim.opt.termguicolors = true
vim.lsp.config('tabby_lsp', {{ cmd = {{ '{python}', '-m', 'tabby_lsp' }} }})
require('tabby_lsp').setup()
vim.opt.laststatus = 2
vim.opt.statusline = " %f%= %{{v:lua.require'tabby_lsp'.status()}} "
"""
PROGRAM = "def total(items):\n    result = 0\n    for item in items:\n        result += item.price\n    return result\n"


def neovim(program: str, home: Path) -> tuple[str, str]:
    """The screen when a model is offered, and while it is fetched."""
    environment = environment_in(home)
    (home / "shop.py").write_text(PROGRAM)
    (home / "init.lua").write_text(INIT.format(plugin=ROOT / "editors/nvim", python=sys.executable))
    offered = offer.suitable(Settings())
    assert offered is not None
    part = offered.entry.sources[0].parts[0]
    with running(Hub({part.path: b"GGUF" + bytes(part.size - 4)}, pause=0.00068)) as hub:
        editor = [program, "-n", "--clean", "-u", str(home / "init.lua"), "shop.py"]
        with tmux(editor, {**environment, "HF_ENDPOINT": hub.address}, 16) as terminal:
            question = terminal.until(lambda screen: "Not now" in screen)
            terminal.keys("1", "Enter")
            terminal.until(lambda screen: "left" in screen)
            time.sleep(4)
            return question, terminal.until(lambda screen: "left" in screen)


LABELS = {
    "interrupted": "A download that is interrupted three times goes on where it was, and ends",
    "models": "The table of models on a machine",
    "recommend": "What tabby-lsp models recommend has measured, and which models are fast enough",
    "doctor": "What tabby-lsp doctor says of a machine",
    "offer": "Neovim asks: a model that would suit this machine; Download, Not now, Never",
    "download": "Neovim's statusline says how far the download is",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--model", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--nvim", default="nvim", metavar="PROGRAM")
    options = parser.parse_args()
    screens = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        for file in options.model:
            link = home / ".lmstudio" / "models" / "gguf" / file.stem / file.name
            link.parent.mkdir(parents=True)
            link.symlink_to(file.resolve())
        if "interrupted" in options.only:
            screens["interrupted"] = three_interruptions(Path(folder, "other"))
        for name in {"models", "recommend", "doctor"} & set(options.only):
            screens[name] = command(name, home)
        if {"offer", "download"} & set(options.only):
            screens["offer"], screens["download"] = neovim(options.nvim, Path(folder, "editor"))
    for name in options.only:
        draw(screens[name], HERE / f"{name}.svg", LABELS[name])


if __name__ == "__main__":
    main()

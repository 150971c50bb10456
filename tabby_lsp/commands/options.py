"""What the commands have in common: options, the settings that they make, messages and the log."""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tabby_lsp import config, languages
from tabby_lsp.config import Layer
from tabby_lsp.processes import machine
from tabby_lsp.settings import Settings

TALKING = ("acp", "ask", "chat", "commit-message")  # commands that are asked of the model of chat
LOG_LEVELS = ("error", "warning", "info", "debug")
LOG_BYTES = 1_000_000
LOG_FILES_KEPT = 10  # one is written by each server: those of the last ten are kept


class UsageError(Exception):
    """A command that cannot be carried out as it was given; the text says what to do."""


def common_options() -> argparse.ArgumentParser:
    """The options of every command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--model", metavar="FILE", help="the model to use: a GGUF file, or a name that `tabby-lsp models` knows"
    )
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as in completion.seed=3; repeatable"
    )
    common.add_argument("--log-level", choices=LOG_LEVELS, help="what is logged (default: warning)")
    common.add_argument("--log-file", metavar="FILE", help="where to (default: $TABBY_ROOT/lsp/logs), besides stderr")
    return common


def after_a_command(common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The common options for use after a command: absent there, they must not undo what stood before it."""
    copy = argparse.ArgumentParser(add_help=False)
    for action in common._actions:
        options: dict[str, Any] = {"help": action.help, "default": argparse.SUPPRESS}
        if action.choices:
            options["choices"] = action.choices
        else:
            options["metavar"] = action.metavar
        if action.dest == "set":
            options["action"] = "append"
        copy.add_argument(*action.option_strings, **options)
    return copy


def here() -> Path | None:
    """Where the command line is given: None if that folder is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def layers_of(options: argparse.Namespace, folder: Path | None) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """config.toml and the command line, and what is wrong with the former."""
    file_layer, problems = config.read_config_file(config.tabby_root() / "config.toml")
    layers = [file_layer]
    for assignment in options.set:
        try:
            layers.append(Layer(f"--set {assignment}", config.parse_assignment(assignment), folder=folder))
        except ValueError as error:
            raise UsageError(str(error)) from None
    if options.model:
        role = "chat" if options.command in TALKING else "completion"
        chosen = {"model": {role: {"local": {"model_id": options.model}}}}
        layers.append(Layer("--model", chosen, folder=folder))
    return tuple(layers), tuple(problems)


def settings_of(options: argparse.Namespace) -> Settings:
    """Those of all layers, for a command that is no server; what is wrong with them is told. Their languages are known
    from now on."""
    start_logging(options, to_file=False)
    layers, problems = layers_of(options, here())
    settings, more = config.merge(layers)
    for problem in (*problems, *more):
        tell(problem)
    languages.use(settings.additional_languages)
    return settings


def tell(text: str) -> None:
    print(f"tabby-lsp: {text}", file=sys.stderr)


def start_logging(options: argparse.Namespace, to_file: bool) -> None:
    """Logs to stderr, and for a server to a file as well, where nobody waits for either. A disk that takes no file is
    one line in it, no more."""
    logging.raiseExceptions = False
    level = getattr(logging, (options.log_level or "warning").upper())
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem = None
    if options.log_file or to_file:
        path = Path(os.path.expanduser(options.log_file)) if options.log_file else _own_log_file()
        try:
            if options.log_file:
                path.parent.mkdir(parents=True, exist_ok=True)
            else:
                machine.private_folder(config.data_folder())
                machine.private_folder(path.parent)
            handlers.append(_PrivateLog(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=False))
        except OSError as error:
            problem = f"no log file: {path} cannot be written ({error.strerror})"
    if to_file:
        from tabby_lsp.lsp.logs import Aside, Descriptor

        handlers = [Aside(each) for each in (Descriptor(2), *handlers[1:])]
    for handler in handlers:
        handler.setFormatter(form)
    logging.basicConfig(level=level, handlers=handlers)
    if level > logging.DEBUG:
        # pygls logs whole messages, and so the user's code, at INFO.
        logging.getLogger("pygls").setLevel(logging.WARNING)
    if problem:
        logging.getLogger("tabby_lsp").warning("%s", problem)


class _PrivateLog(logging.handlers.RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        machine.private_file(Path(self.baseFilename))  # whether it is the first one or one after that
        return super()._open()


def _own_log_file() -> Path:
    folder = config.data_folder() / "logs"
    try:
        old = sorted(folder.glob("tabby-lsp.*.log*"), key=lambda file: file.stat().st_mtime)
        for file in old[: -LOG_FILES_KEPT + 1]:
            file.unlink(missing_ok=True)
    except OSError:  # another server clears up at the same time, or the folder may not be changed
        pass
    return folder / f"tabby-lsp.{os.getpid()}.log"


def show_progress(text: str) -> None:
    """One line that is written over, where somebody looks at it."""
    if sys.stderr.isatty():
        print(f"\r{text:<40}\r", end="", file=sys.stderr, flush=True)

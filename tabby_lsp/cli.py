"""The command line. Without a command it is the language server; the others are for people.

A command's module is imported when it is asked for, so that `--help` and `initialize` are quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from tabby_lsp import __version__
from tabby_lsp.commands.options import UsageError, after_a_command, common_options, tell

COMMANDS = {
    "acp": "the agent for chat windows that speak the Agent Client Protocol",
    "ask": "a question about a folder, answered",
    "chat": "a conversation about a folder",
    "commit-message": "a message for what would be committed",
    "complete": "one completion, to stdout",
    "demo": "watch the server complete a real file",
    "doctor": "what works here, and what does not",
    "eval": "how good suggestions are on code of yours (it is only read)",
    "index": "build or refresh the index of a folder",
    "map": "the files and definitions that matter most",
    "models": "which models there are; get, use or remove one",
    "search": "ask the index of a folder",
}
SERVE = "serve"  # what is done without a command


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser(arguments).parse_args(arguments)
    try:
        status: int = _module(options.command or SERVE).run(options)
        return status
    except UsageError as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tabby-lsp … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line. It knows the options of those commands only that are named in it."""
    common = common_options()
    whole = argparse.ArgumentParser(
        prog="tabby-lsp",
        parents=[common],
        description="Code completion from a model on your own machine. Without a command: the language server, "
        "on stdin and stdout, for an editor to start.",
    )
    whole.add_argument("--stdio", action="store_true", help="accepted, since editors pass it; it changes nothing")
    whole.add_argument("--version", action="version", version=f"tabby-lsp {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")
    behind = after_a_command(common)
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, parents=[behind], help=help)
        if name in arguments:
            _module(name).add_arguments(command, [behind])
    return whole


def _module(command: str) -> Any:
    return importlib.import_module(f"tabby_lsp.commands.{command.replace('-', '_')}")

"""Without a command: the language server."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tabby_lsp.commands.options import here, layers_of, start_logging
from tabby_lsp.processes import machine


def run(options: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        sys.stderr.write(
            "tabby-lsp speaks the Language Server Protocol on stdin and stdout: an editor starts it.\n"
            "In a terminal, try `tabby-lsp demo`, `tabby-lsp doctor` or `tabby-lsp --help`.\n"
        )
    wire = machine.take_stdout()
    folder = here()
    layers_of(options, folder)  # a mistake on the command line ends it here
    start_logging(options, to_file=True)
    from tabby_lsp.lsp.handlers import create_server, serve  # behind `take_stdout`: what they load may print

    return asyncio.run(serve(create_server(lambda: layers_of(options, folder)), 0, wire))

"""`tabby-lsp acp`: the agent of the Agent Client Protocol, for editors and chat windows that speak it. At the lowest
priority, with a model of its own.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from tabby_lsp.acp.agent import Agent
from tabby_lsp.commands.options import settings_of, start_logging, tell
from tabby_lsp.commands.talking import model, workspace
from tabby_lsp.processes import machine
from tabby_lsp.settings import Settings


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.description = "Speaks the Agent Client Protocol on stdin and stdout, for a program to start."


def run(options: argparse.Namespace) -> int:
    wire = machine.take_stdout()
    machine.lowest_priority(own_session=True)  # an editor in another session is not to notice it
    settings = settings_of(options)
    start_logging(options, to_file=False)
    asyncio.run(_serve(settings, wire))
    return 0


async def _serve(settings: Settings, wire: int) -> None:
    async with model(settings, _nothing) as engines:
        agent = Agent(engines, settings, lambda folder: workspace(folder, settings, _nothing, tell))
        await agent.serve(0, wire)


def _nothing(progress: str) -> None:
    """A chat window shows progress of its own."""

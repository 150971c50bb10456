"""`tabby-lsp models`: which models there are, and one of them fetched, used or removed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tabby_lsp.commands import model_file, model_list
from tabby_lsp.commands.options import settings_of


def add_arguments(models: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    """`common` are parsers of options that every action has."""
    models.add_argument("--all", action="store_true", help="every model with a name, not only what suits this machine")
    models.add_argument("--json", action="store_true", help="for scripts")
    actions = models.add_subparsers(dest="action", metavar="ACTION")

    def action(name: str, help: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, parents=common, help=help)
        parser.add_argument(
            "name",
            metavar="NAME",
            help="a name of the table, org/repo[:quantisation], org/repo/file.gguf, an https address or a file",
        )
        return parser

    get = action("get", "fetch a model, unless it is on this machine already")
    get.add_argument("--dry-run", action="store_true", help="only say what would be fetched")
    get.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="events as lines of JSON")
    use = action("use", "write a model into config.toml")
    use.add_argument("--chat", action="store_true", help="for chat, and not for completion")
    remove = action("remove", "delete a model that lies where `get` puts it")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    actions.add_parser(
        "recommend",
        parents=common,
        help="measure this machine for some ten seconds, and say which models are fast on it",
    ).add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for scripts")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    try:
        if options.action == "get":
            return model_file.get(options.name, settings, options.dry_run, options.json)
        if options.action == "use":
            return model_file.use(options.name, settings, "chat" if options.chat else "completion")
        if options.action == "remove":
            return model_file.remove(options.name, settings, options.yes)
        if options.action == "recommend":
            return model_list.recommend(settings, options.json)
        return model_list.show(settings, options.all, options.json)
    except OSError as error:
        print(f"tabby-lsp: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return 1

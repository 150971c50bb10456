"""The command line. Without a command it is the language server; the others are for people.

Heavy modules are imported by the commands that need them, so that `--help` and `initialize` are quick.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tabby_lsp import __version__, config, languages, machine
from tabby_lsp.commands import models
from tabby_lsp.config import Layer
from tabby_lsp.data import Sampling
from tabby_lsp.settings import Settings

LOG_LEVELS = ("error", "warning", "info", "debug")
LOG_BYTES = 1_000_000
LOG_FILES_KEPT = 10  # one is written by each server: those of the last ten are kept


class UsageError(Exception):
    """A command that cannot be carried out as it was given; the text says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.command == "complete":
            return _complete(options)
        if options.command == "doctor":
            return _doctor(options)
        if options.command == "demo":
            return _demo(options)
        if options.command == "index":
            return _index(options)
        if options.command == "search":
            return _search(options)
        if options.command == "map":
            return _map(options)
        if options.command == "eval":
            return _eval(options)
        if options.command == "models":
            return _models(options)
        return _serve(options)
    except UsageError as error:
        _tell(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tabby-lsp … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", metavar="FILE", help="the GGUF file to use (model.completion.local.model_id)")
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as in completion.seed=3; repeatable"
    )
    common.add_argument("--log-level", choices=LOG_LEVELS, help="what is logged (default: warning)")
    common.add_argument("--log-file", metavar="FILE", help="where to (default: $TABBY_ROOT/lsp/logs), besides stderr")

    parser = argparse.ArgumentParser(
        prog="tabby-lsp",
        parents=[common],
        description="Code completion from a model on your own machine. Without a command: the language server, "
        "on stdin and stdout, for an editor to start.",
    )
    parser.add_argument("--stdio", action="store_true", help="accepted, since editors pass it; it changes nothing")
    parser.add_argument("--version", action="version", version=f"tabby-lsp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    complete = commands.add_parser("complete", parents=[_suppressed(common)], help="one completion, to stdout")
    complete.add_argument(
        "place",
        nargs="?",
        metavar="FILE:LINE:COL",
        help="where: line and column count from 1, no column means the line's end. Without it a JSON object on "
        'stdin: {"prefix": …, "suffix": …}, and if you like "path" and "snippets" [{"path": …, "text": …}]',
    )
    complete.add_argument(
        "--in",
        dest="folder",
        default=".",
        metavar="DIR",
        help="the folder whose index is asked (default: where you are)",
    )
    complete.add_argument("--language", metavar="L", help="LSP language id (default: from the file's name)")
    complete.add_argument("--max-tokens", type=int, metavar="N", help="tokens of the completion")
    complete.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token every time")
    complete.add_argument("--seed", type=int, metavar="N", help="for temperatures above 0")
    complete.add_argument("--json", action="store_true", help="text, range, model, layout, token counts, times")
    complete.add_argument("--show-prompt", action="store_true", help="what the model was given, too, and why")

    commands.add_parser("doctor", parents=[_suppressed(common)], help="what works here, and what does not")
    demo = commands.add_parser("demo", parents=[_suppressed(common)], help="watch the server complete a real file")
    demo.add_argument("file", nargs="?", metavar="FILE", help="a source file of yours (it is only read)")
    demo.add_argument("--lines", type=int, default=3, metavar="N", help="how many of its lines are typed")

    index = commands.add_parser("index", parents=[_suppressed(common)], help="build or refresh the index of a folder")
    index.add_argument("folder", nargs="?", default=".", metavar="DIR", help="(default: where you are)")
    index.add_argument("--verbose", action="store_true", help="name three examples of what was skipped for each reason")
    index.add_argument("--list", action="store_true", help="show the indexes that there are, and do no more")
    index.add_argument("--forget", metavar="DIR", help="delete the index of a folder, and do no more")
    search = commands.add_parser("search", parents=[_suppressed(common)], help="ask the index of a folder")
    search.add_argument(
        "query",
        metavar="QUERY",
        help='words, a name like Cart.total, a "phrase", or a /regular expression/; with lang:go, path:src/ or '
        "kind:class only there",
    )
    search.add_argument("--in", dest="folder", default=".", metavar="DIR", help="the folder (default: where you are)")
    search.add_argument("--limit", type=int, default=20, metavar="N", help="how many lines are shown at most")
    search.add_argument("--json", action="store_true", help="places, lines (from 1), names, texts and files' hashes")
    mapped = commands.add_parser(
        "map", parents=[_suppressed(common)], help="the files and definitions that matter most"
    )
    mapped.add_argument("folder", nargs="?", default=".", metavar="DIR", help="(default: where you are)")
    mapped.add_argument("--tokens", type=int, default=2_000, metavar="N", help="how long it may be (default: 2000)")
    evaluation = commands.add_parser(
        "eval", parents=[_suppressed(common)], help="how good suggestions are on code of yours (it is only read)"
    )
    evaluation.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with code")
    evaluation.add_argument("--holes", type=int, default=100, metavar="N", help="places in each (default: 100)")
    evaluation.add_argument("--seed", type=int, default=0, metavar="N", help="which places (default: 0)")
    evaluation.add_argument("--json", action="store_true", help="the figures and their bounds, instead of a table")
    models.add_parser(commands, [_suppressed(common)])
    return parser


def _suppressed(common: argparse.ArgumentParser) -> argparse.ArgumentParser:
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


# --- settings and logs


def _here() -> Path | None:
    """Where the command line is given: None if that folder is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _layers(options: argparse.Namespace, here: Path | None) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """config.toml and the command line, and what is wrong with the former."""
    file_layer, problems = config.read_config_file(config.tabby_root() / "config.toml")
    layers = [file_layer]
    for assignment in options.set:
        try:
            layers.append(Layer(f"--set {assignment}", config.parse_assignment(assignment), folder=here))
        except ValueError as error:
            raise UsageError(str(error)) from None
    if options.model:
        chosen = {"model": {"completion": {"local": {"model_id": options.model}}}}
        layers.append(Layer("--model", chosen, folder=here))
    return tuple(layers), tuple(problems)


def _settings(options: argparse.Namespace) -> Settings:
    """Those of all layers, for a command that is no server; what is wrong with them is told. Their languages are known
    from now on."""
    _start_logging(options, to_file=False)
    layers, problems = _layers(options, _here())
    settings, more = config.merge(layers)
    for problem in (*problems, *more):
        _tell(problem)
    languages.use(settings.additional_languages)
    return settings


def _tell(text: str) -> None:
    print(f"tabby-lsp: {text}", file=sys.stderr)


def _start_logging(options: argparse.Namespace, to_file: bool) -> None:
    """Logs to stderr, and for a server to a file as well, where nobody waits for either. A disk that takes no file is
    one line in it, no more."""
    logging.raiseExceptions = False
    level = getattr(logging, (options.log_level or "warning").upper())
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem = None
    if options.log_file or to_file:
        path = Path(options.log_file).expanduser() if options.log_file else _own_log_file()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(
                logging.handlers.RotatingFileHandler(
                    path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=False
                )
            )
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


def _own_log_file() -> Path:
    folder = config.data_folder() / "logs"
    try:
        old = sorted(folder.glob("tabby-lsp.*.log*"), key=lambda file: file.stat().st_mtime)
        for file in old[: -LOG_FILES_KEPT + 1]:
            file.unlink(missing_ok=True)
    except OSError:  # another server clears up at the same time, or the folder may not be changed
        pass
    return folder / f"tabby-lsp.{os.getpid()}.log"


# --- commands


def _serve(options: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        print(
            "tabby-lsp speaks the Language Server Protocol on stdin and stdout: an editor starts it.\n"
            "In a terminal, try `tabby-lsp demo`, `tabby-lsp doctor` or `tabby-lsp --help`.",
            file=sys.stderr,
        )
    wire = machine.take_stdout()
    here = _here()
    _layers(options, here)  # a mistake on the command line ends it here
    _start_logging(options, to_file=True)
    from tabby_lsp.lsp.handlers import create_server, serve

    return asyncio.run(serve(create_server(lambda: _layers(options, here)), 0, wire))


def _complete(options: argparse.Namespace) -> int:
    settings = _settings(options)
    from tabby_lsp.request import NoCompletion, NoPlace, complete, explanation, in_file, in_json

    try:
        if options.place:
            place = in_file(options.place, options.folder, options.language or "", _tell)
        else:
            place = in_json(sys.stdin.buffer.read(), options.language or "")
    except NoPlace as error:
        raise UsageError(str(error)) from None
    completion = settings.completion
    sampling = Sampling(
        completion.max_decoding_tokens if options.max_tokens is None else options.max_tokens,
        completion.temperature if options.temperature is None else options.temperature,
        completion.seed if options.seed is None else options.seed,
    )
    if sampling.max_tokens < 1 or sampling.temperature < 0 or sampling.seed < 0:
        raise UsageError("--max-tokens must be at least 1, --temperature and --seed at least 0.")
    try:
        answer = asyncio.run(complete(settings, place, sampling, options.show_prompt, _tell))
    except NoCompletion as error:
        _tell(str(error))
        return 1
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        if options.show_prompt:
            print("\n".join(explanation(answer)), file=sys.stderr)
        print(answer["text"])
    return 0


def _doctor(options: argparse.Namespace) -> int:
    _start_logging(options, to_file=False)
    from tabby_lsp.doctor import examine

    layers, problems = _layers(options, _here())
    return asyncio.run(examine(layers, problems, print))


def _demo(options: argparse.Namespace) -> int:
    _start_logging(options, to_file=False)
    from tabby_lsp.lsp.demo import DemoError, run

    arguments = ["--model", options.model] if options.model else []
    for assignment in options.set:
        arguments += ["--set", assignment]
    try:
        asyncio.run(run(options.file, options.lines, arguments, print))
    except DemoError as error:
        _tell(str(error))
        return 1
    return 0


def _eval(options: argparse.Namespace) -> int:
    settings = _settings(options)
    from tabby_lsp.engine.client import EngineError
    from tabby_lsp.engines import completing
    from tabby_lsp.evaluation.command import EvaluationError, evaluate, report
    from tabby_lsp.evaluation.report import as_data, figures
    from tabby_lsp.models.registry import ModelNotFound

    if options.holes < 4:
        raise UsageError("--holes must be at least 4: there are four kinds of them.")
    sampling = Sampling(settings.completion.max_decoding_tokens)

    def tell(text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)

    try:
        engine = partial(completing, settings)
        variants = asyncio.run(evaluate(options.folders, options.holes, options.seed, engine, sampling, tell))
    except (EngineError, EvaluationError, ModelNotFound) as error:
        _tell(str(error))
        return 1
    if options.json:
        print(json.dumps(as_data(figures(variants)), indent=2))
    else:
        print(report(variants, options.seed))
    return 0


def _models(options: argparse.Namespace) -> int:
    settings = _settings(options)
    return models.run(options, settings)


def _index(options: argparse.Namespace) -> int:
    from tabby_lsp.listing import NoIndex, forget_index, show_index, show_indexes

    if options.list:
        show_indexes(print)
        return 0
    settings = _settings(options)
    try:
        if options.forget is not None:
            forget_index(options.forget, print)
            return 0
        asyncio.run(show_index(options.folder, settings, options.verbose, _progress, print))
    except NoIndex as error:
        raise UsageError(str(error)) from None
    return 0


def _search(options: argparse.Namespace) -> int:
    from tabby_lsp.index.question import BadQuestion
    from tabby_lsp.listing import NoIndex, find, in_json, in_lines

    settings = _settings(options)
    if options.limit < 1:
        raise UsageError("--limit must be at least 1.")
    try:
        found = asyncio.run(find(options.query, options.folder, settings, options.limit, _progress))
    except (BadQuestion, NoIndex) as error:
        raise UsageError(str(error)) from None
    if options.json:
        print(json.dumps(in_json(found, options.query), ensure_ascii=False, indent=2))
    else:
        for line in in_lines(found, options.folder, _coloured()):
            print(line)
        for note in found.notes:
            _tell(note)
    if not found.answer.citations and not options.json:
        _tell("nothing like that was found.")
    return 0 if found.answer.citations else 1


def _map(options: argparse.Namespace) -> int:
    from tabby_lsp.listing import NoIndex, show_map

    settings = _settings(options)
    if options.tokens < 1:
        raise UsageError("--tokens must be at least 1.")
    try:
        note = asyncio.run(show_map(options.folder, settings, options.tokens, _progress, print))
    except NoIndex as error:
        raise UsageError(str(error)) from None
    if note:
        _tell(note)
    return 0


def _coloured() -> bool:
    """Only for a person who looks on, and has not said no (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _progress(text: str) -> None:
    """One line that is written over, where somebody looks at it."""
    if sys.stderr.isatty():
        print(f"\r{text:<40}\r", end="", file=sys.stderr, flush=True)

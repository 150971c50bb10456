"""`tabby-lsp complete`: what surrounds a place, and one completion there as the server would make it."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabby_lsp.commands.options import UsageError, settings_of, tell
from tabby_lsp.completion.context import surround
from tabby_lsp.data import CompletionContext, CompletionRequest, Sampling, Snippet
from tabby_lsp.engine.client import EngineError
from tabby_lsp.engines import completing
from tabby_lsp.languages import language_of_path
from tabby_lsp.models.registry import ModelNotFound
from tabby_lsp.settings import Settings
from tabby_lsp.text import content_length, split_lines

if TYPE_CHECKING:
    from tabby_lsp.index.related import Related

Tell = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]) -> None:
    parser.add_argument(
        "place",
        nargs="?",
        metavar="FILE:LINE:COL",
        help="where: line and column count from 1, no column means the line's end. Without it a JSON object on "
        'stdin: {"prefix": …, "suffix": …}, and if you like "path" and "snippets" [{"path": …, "text": …}]',
    )
    parser.add_argument(
        "--in",
        dest="folder",
        default=".",
        metavar="DIR",
        help="the folder whose index is asked (default: where you are)",
    )
    parser.add_argument("--language", metavar="L", help="LSP language id (default: from the file's name)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="tokens of the completion")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token every time")
    parser.add_argument("--seed", type=int, metavar="N", help="for temperatures above 0")
    parser.add_argument("--json", action="store_true", help="text, range, model, layout, token counts, times")
    parser.add_argument("--show-prompt", action="store_true", help="what the model was given, too, and why")


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    try:
        if options.place:
            place = in_file(options.place, options.folder, options.language or "", tell)
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
        answer = asyncio.run(complete(settings, place, sampling, options.show_prompt, tell))
    except NoCompletion as error:
        tell(str(error))
        return 1
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        if options.show_prompt:
            print("\n".join(explanation(answer)), file=sys.stderr)
        print(answer["text"])
    return 0


class NoPlace(Exception):
    """There is no such place; the text says what would be one."""


class NoCompletion(Exception):
    """There is no completion to be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a completion is asked for: line and column count from 1. `file` and the `folder` it is in, if it is one."""

    context: CompletionContext
    line: int
    column: int
    file: Path | None = None
    folder: Path | None = None


def in_file(place: str, folder: str, language: str, tell: Tell) -> Target:
    """The place that `FILE:LINE:COL` names. The folder counts if it holds the file. Raises NoPlace."""
    name, line, column = _parse_target(place)
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise NoPlace(f"{name} cannot be read: {error.strerror}.") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        tell(f"{name} is not UTF-8 (byte {error.start}); what is not is shown as �.")
        text = data.decode("utf-8", "replace")
    lines = split_lines(text)
    if line > len(lines):
        raise NoPlace(f"{name} has {len(lines)} lines: there is no line {line}.")
    length = content_length(lines[line - 1])
    column = length + 1 if column is None else column
    if column > length + 1:
        raise NoPlace(f"Line {line} of {name} has {length} characters: there is no column {column}.")
    prefix, line_suffix, suffix, first_line = surround(lines, line - 1, column - 1)
    file, root = Path(os.path.abspath(name)), Path(os.path.abspath(folder))
    inside = file.is_relative_to(root)
    context = CompletionContext(
        prefix=prefix,
        line_suffix=line_suffix,
        suffix=suffix,
        first_line=first_line,
        path=file.relative_to(root).as_posix() if inside else file.name,
        repository=root.name if inside else "",
        language=language or language_of_path(name),
    )
    return Target(context, line, column, file, root if inside else None)


def _parse_target(place: str) -> tuple[str, int, int | None]:
    match = re.fullmatch(r"(.+?):(\d+)(?::(\d+))?", place)
    if match is None or 0 in (int(match[2]), int(match[3] or 1)):
        raise NoPlace(f"{place!r} is not of the form FILE:LINE:COL, with numbers from 1.")
    return match[1], int(match[2]), int(match[3]) if match[3] else None


def in_json(data: bytes, language: str) -> Target:
    """The place between the prefix and the suffix of a JSON object. Raises NoPlace."""
    try:
        given = json.loads(data)
        snippets = tuple(Snippet(str(each["path"]), str(each["text"])) for each in given.get("snippets", ()))
        prefix, after = given["prefix"], given.get("suffix", "")
        if not isinstance(prefix, str) or not isinstance(after, str):
            raise TypeError("prefix and suffix must be strings")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoPlace(
            f'stdin must hold a JSON object like {{"prefix": "x = ", "suffix": "\\n"}} ({error!r}).'
        ) from None
    prefix, after = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (prefix, after))
    line_suffix, newline, below = after.partition("\n")
    context = CompletionContext(
        prefix=prefix,
        line_suffix=line_suffix,
        suffix=newline + below,
        path=str(given.get("path", "")),
        language=language,
        snippets=snippets,
    )
    return Target(context, prefix.count("\n") + 1, len(prefix.rpartition("\n")[2]) + 1)


async def complete(
    settings: Settings, place: Target, sampling: Sampling, show_prompt: bool, tell: Tell
) -> dict[str, Any]:
    """One completion through the engine process, as it is shown with `--json`. Raises NoCompletion."""
    try:
        engine = completing(settings)
    except ModelNotFound as error:
        raise NoCompletion(str(error)) from None
    engine.start()
    try:
        _, info = await engine.ready_to_complete()
        for note in engine.state.notes:
            tell(note)
        related: Sequence[Related] = ()
        context = place.context
        if settings.completion.wants_context(info.uses_context) and not context.snippets:
            related = _related(settings, place, info.context_room, tell if show_prompt else lambda text: None)
            context = dataclasses.replace(context, snippets=tuple(each.snippet for each in related))
        request = CompletionRequest("", context, sampling, unhurried=True, show_prompt=show_prompt)
        done = await engine.complete(request).result
    except EngineError as error:
        raise NoCompletion(str(error)) from None
    finally:
        await engine.close()
    candidate = done.candidates[0]
    answer: dict[str, Any] = {
        "text": done.text,
        "range": {"start": [place.line, place.column], "end": [place.line, place.column + done.replace]},
        "model": done.model,
        "family": info.family,
        "layout": done.layout,
        "tokens": {"evaluated": done.evaluated, "reused": done.reused, "generated": done.generated},
        "stop": candidate.stop,
        "probabilities": list(candidate.probabilities),
        "milliseconds": {
            "queue": done.timing.queue,
            "prompt": done.timing.prompt,
            "prefill": done.timing.prefill,
            "decode": done.timing.decode,
            "filters": done.timing.filters,
        },
    }
    if show_prompt:
        pieces = [{"path": each.snippet.path, "reason": each.reason, "score": round(each.score, 3)} for each in related]
        answer |= {"related": pieces, "prompt": done.prompt, "pending": done.pending}
    return answer


def _related(settings: Settings, place: Target, room: int, tell: Tell) -> list[Related]:
    """Pieces of other files from the index of the place's folder, if there is one; of none that no model reads."""
    from tabby_lsp.index.disabled import Disabled
    from tabby_lsp.index.plan import plan
    from tabby_lsp.index.related import related
    from tabby_lsp.index.search import Search

    if place.file is None:
        return []
    if place.folder is None:
        tell("no pieces of other files: the file is not in the folder where you are; name its folder with --in.")
        return []
    wanted, note = plan([place.folder], settings.index, languages=settings.additional_languages)
    if wanted is None or not Path(wanted.database).exists():
        tell(f"no pieces of other files: {note or f'there is no index; `tabby-lsp index {place.folder}` makes one.'}")
        return []
    disabled = Disabled(settings.completion.disable)
    search = Search(Path(wanted.database))
    try:
        return related(search, wanted.real(place.file), place.context, room, disabled=disabled)
    finally:
        search.close()


def explanation(answer: dict[str, Any]) -> list[str]:
    """Lines on what the model was given: score and reason of each piece of another file, and the prompt."""
    lines = [f"{each['score']:6.3f}  {each['reason']:<32}  {each['path']}" for each in answer["related"]]
    lines.append(answer["prompt"])
    if answer["pending"]:
        lines.append(f"(which the model goes on from with {answer['pending']!r}, and then freely)")
    return lines

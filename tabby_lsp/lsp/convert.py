"""Between LSP's types and ours: contexts out of requests, items out of suggestions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlparse

from lsprotocol import types as lsp

from tabby_lsp.chat.markdown import fenced
from tabby_lsp.completion.context import surround
from tabby_lsp.completion.overtype import before_overtyped, overtyped
from tabby_lsp.data import Alternative, CompletionContext
from tabby_lsp.lsp.documents import Document
from tabby_lsp.suggest.suggestions import Suggestion
from tabby_lsp.text import Point

_WORD_BEFORE = re.compile(r"\w*$")


def context_at(
    document: Document, place: Point, folders: list[str], selected: tuple[str, Point] | None = None
) -> CompletionContext:
    """What surrounds a place. With `selected`, as if that text stood between its place and this one."""
    prefix, line_suffix, suffix, first_line = surround(document.lines, *place)
    if selected:
        text, start = selected
        prefix = prefix[: len(prefix) - (place[1] - start[1])] + text
    path, repository = _path_in(document.uri, folders)
    return CompletionContext(
        prefix=prefix,
        line_suffix=line_suffix,
        suffix=suffix,
        first_line=first_line,
        path=path,
        repository=repository,
        language=document.language_id,
    )


def _path_in(uri: str, folders: list[str]) -> tuple[str, str]:
    """A document's path within the workspace folder that holds it, and that folder's name."""
    path = PurePosixPath(_path(uri))
    holding = [PurePosixPath(_path(folder)) for folder in folders]
    holding = [folder for folder in holding if path.is_relative_to(folder)]
    if not holding:
        return path.name, ""
    folder = max(holding, key=lambda each: len(each.parts))
    return str(path.relative_to(folder)), folder.name


def path_for_patterns(uri: str, folders: list[str]) -> str:
    """A document's path as an ignore file at the top of its workspace folder sees it; the whole path outside of all."""
    path, folder = _path_in(uri, folders)
    return path if folder else _path(uri).strip("/")


def _path(uri: str) -> str:
    try:
        return unquote(urlparse(uri).path)
    except ValueError:  # "file://[::1"
        return uri


def selected_text(
    document: Document, place: Point, info: lsp.SelectedCompletionInfo | None
) -> tuple[str, Point] | None:
    """The text of the menu's selected item and where it begins, if it is one that a suggestion can extend."""
    if info is None:
        return None
    start = document.place(info.range.start.line, info.range.start.character)
    if start[0] != place[0] or start > place:
        return None
    return info.text, start


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a suggestion was asked for: the text that is selected in the editor's menu, if any, begins at a point."""

    document: Document
    point: Point
    selected: tuple[str, Point] | None = None


def inline_list(asked: Asked, suggestion: Suggestion | None) -> lsp.InlineCompletionList | None:
    """Items with ranges on the cursor's line, the likeliest first. One that extends the menu's keeps the menu's range.

    Null says that the request was superseded, and editors then leave what they show; an empty list clears it. Lines end
    in "\\n" whatever the document has: editors see to their own line ends here, and Neovim would insert a "\\r".
    """
    if suggestion is None:
        return None
    choices = suggestion.completion.choices if suggestion.text else ()
    items = [_inline_item(asked.document, asked.point, each, asked.selected) for each in choices]
    return lsp.InlineCompletionList(items=[each for each in items if each is not None])


def _inline_item(
    document: Document, place: Point, suggested: Alternative, selected: tuple[str, Point] | None
) -> lsp.InlineCompletionItem | None:
    text, start, end = suggested.text, place, (place[0], place[1] + suggested.replace)
    if selected:
        context = context_at(document, place, [], selected)
        if suggested.replace > overtyped(text, context):  # typed into, and not to be had without what it replaces
            return None
        text, start, end = selected[0] + before_overtyped(text, context), selected[1], place
    return lsp.InlineCompletionItem(insert_text=text, range=_range(document, start, end))


def menu_list(asked: Asked, suggestion: Suggestion | None) -> lsp.CompletionList:
    """The suggestion as the completion menu's item: it replaces the word before the cursor by that word and more.

    `filter_text` begins with that word, so that it stays in the menu while one types through the suggestion.
    """
    if suggestion is None or not suggestion.text:
        return lsp.CompletionList(is_incomplete=True, items=[])
    document, (line, column) = asked.document, asked.point
    match = _WORD_BEFORE.search(document.lines[line][:column])
    word = match.group() if match else ""
    whole = word + suggestion.text
    label = next((each.strip() for each in whole.split("\n") if each.strip()), "")
    item = lsp.CompletionItem(
        label=label,
        label_details=lsp.CompletionItemLabelDetails(description="tabby"),
        kind=lsp.CompletionItemKind.Text,
        documentation=lsp.MarkupContent(kind=lsp.MarkupKind.Markdown, value=fenced(whole, document.language_id)),
        sort_text="\t",  # before everything that begins with a character one can see
        filter_text=word + suggestion.text.split("\n")[0],
        insert_text_format=lsp.InsertTextFormat.PlainText,
        insert_text_mode=lsp.InsertTextMode.AsIs,
        text_edit=lsp.TextEdit(
            range=_range(document, (line, column - len(word)), (line, column + suggestion.replace)),
            new_text=_with_line_ends(whole, document),
        ),
    )
    return lsp.CompletionList(is_incomplete=True, items=[item])


def _with_line_ends(text: str, document: Document) -> str:
    line_end = document.line_end()
    return text if line_end == "\n" else text.replace("\n", line_end)


def _range(document: Document, start: Point, end: Point) -> lsp.Range:
    (start_line, start_units), (end_line, end_units) = document.position(start), document.position(end)
    return lsp.Range(lsp.Position(start_line, start_units), lsp.Position(end_line, end_units))

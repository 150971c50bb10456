"""Where nothing is suggested to who has not asked for it, and why. Pure functions; the reasons are for logs and status.

Suggestions that come at every key are in the way where the user takes text back, and where a name is finished that
they would make another one of. Who asks on a key gets an answer everywhere.
"""

from __future__ import annotations

import re

from tabby_lsp.completion.prose import prose_at
from tabby_lsp.data import CompletionContext
from tabby_lsp.languages import language as facts_of
from tabby_lsp.settings import CompletionSettings, is_on

SHORTEST_NAME = 3  # letters: one or two begin too many words to be known as a whole one
LONGEST_NAME = 100
# Words that a blank follows and that few names begin with: complete also where the window has them nowhere else.
KEYWORDS = frozenset(
    "await case elif extends function implements interface namespace package private protected public raise return "
    "static throw while yield".split()
)
_MEMBER = (".", "->", "::")  # what stands before a name that belongs to something
_WORD, _WORD_AT_END = re.compile(r"\w*"), re.compile(r"\w*\Z")


def reason_against(context: CompletionContext, deleted: int | None, settings: CompletionSettings) -> str:
    """Why nothing is suggested at a place before any model is asked, or "".

    `deleted`: how many characters left of the cursor the last change took text out of this line; None if it was
    another one. While that is in the word at the cursor, the word is being deleted.
    """
    if not is_on(settings.languages, context.language):
        return f"completion.languages: {context.language} is off"
    if deleted is not None and _is_in_word(context, deleted):
        return "the word is being deleted"
    if not (settings.comments and settings.strings):
        prose = prose_at(context)
        if (prose == "comment" and not settings.comments) or (prose == "string" and not settings.strings):
            return f"completion.{prose}s: the cursor is in a {prose}"
    return ""


def _is_in_word(context: CompletionContext, left: int) -> bool:
    before, after = _word_before(context.prefix), _word_of(context.line_suffix)
    return before != "" and -len(after) <= left <= len(before)


def lengthens_full_name(text: str, context: CompletionContext) -> bool:
    """Whether a suggestion makes a longer name of one that has just been typed in full; one that goes on behind the
    name, as with "(", does not.

    A name is typed in full if the window has it elsewhere, and no longer one that begins with it; behind a "." it must
    be behind one there, too. Prose has no names.
    """
    name = _word_before(context.prefix)
    if len(name) < SHORTEST_NAME or not name.isidentifier() or facts_of(context.language).has_sentences:
        return False
    if not _word_of(text) or _word_of(context.line_suffix):
        return False
    before = context.prefix[: -len(name)]
    is_member = before.endswith(_MEMBER)
    is_known = name in KEYWORDS and not is_member
    elsewhere = f"{before}\n{context.line_suffix}{context.suffix}"
    for match in re.finditer(re.escape(name), elsewhere):
        start, end = match.span()
        if not _word_before(elsewhere[max(0, start - 1) : start]):
            if _word_of(elsewhere[end : end + 1]):
                return False
            is_known = is_known or elsewhere.endswith(_MEMBER, 0, start) == is_member
    return is_known


def _word_before(text: str) -> str:
    """The word at the end of a text."""
    match = _WORD_AT_END.search(text[-LONGEST_NAME:])
    return match[0] if match else ""


def _word_of(text: str) -> str:
    """The word at the beginning of a text."""
    match = _WORD.match(text)
    return match[0] if match else ""

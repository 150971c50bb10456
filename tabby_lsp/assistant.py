"""Chat: from a question to the pieces of an answer, and the whole of it with what it cites.

    conversation → material (index, files) → prompt → form (template) → engine → thoughts, answer → pieces

Knows which engine a conversation runs on, and neither who asks nor how llama.cpp writes. An answer is cancelled with
the task that waits for it: its computing then stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabby_lsp.chat import commit
from tabby_lsp.chat.conversation import (
    Capacity,
    ChatError,
    Excerpt,
    Material,
    Message,
    Parameters,
    Prompt,
    checked,
    prompt,
    texts_to_count,
    with_short_notes,
)
from tabby_lsp.chat.lookup import looked_up
from tabby_lsp.chat.markdown import Answer, without_control
from tabby_lsp.chat.rendering import form_of
from tabby_lsp.chat.sources import NOT_GIVEN, Attached, Sources, changes, material
from tabby_lsp.chat.tasks import commit_message
from tabby_lsp.chat.template import USER, Form
from tabby_lsp.chat.thoughts import TAGS, TEXT, THOUGHT, Piece, Thoughts
from tabby_lsp.data import Dialect, Sampling, Segment
from tabby_lsp.engine.client import Engine, EngineError
from tabby_lsp.engine.messages import Write, Written
from tabby_lsp.engines import CHAT, NO_CHAT_MODEL, Engines
from tabby_lsp.processes import git
from tabby_lsp.settings import Settings

ONLY_THOUGHTS = "The model has thought, and come to no answer in {tokens} tokens. Ask with a larger max_tokens."
LOOPED = "The model began to repeat itself, and was stopped. A higher temperature or a larger model does so less."
CUT = "The answer ends here because it has {tokens} tokens: there is room for more with a larger max_tokens."
NO_ANSWER = "The model has written nothing."
OF_A_MERGE = "A merge is being made: this is git's own message for it."
NOTHING_FOUND = "Nothing in the repository was found to fit this question: the answer rests on the model alone."

CHANGES_SHARE = 1 / 2  # of the context, for a diff: the rest is for subjects, the message and a model's own counts
MOST_CHARACTERS_A_TOKEN = 8  # of a text: code has 3 to 4, prose 4 to 5

STOP, LENGTH, REPETITION = "stop", "length", "repetition"


AS_SUITS = Parameters()


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks. `model` is a configured name, never a path; "" for the one that is set."""

    messages: tuple[Message, ...]
    attached: tuple[Attached, ...] = ()
    parameters: Parameters = AS_SUITS
    model: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How an answer is shown: as Markdown made safe or as plain text, and what stands for the number of an excerpt."""

    markdown: bool = True
    link: Callable[[Excerpt], str] = lambda excerpt: f"[{excerpt.number}]"


AS_MARKDOWN = Manner()


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of these, what was known from before
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `finish_reason` is "stop", or "length" if there was no room for more.

    `given` is all that the model was given beside the question, `citations` what of it the answer names, in the order
    in which it does. `notes` say what one should know of it. Without a chat model `model` is empty.
    """

    text: str
    thoughts: str
    finish_reason: str
    usage: Usage
    citations: tuple[Excerpt, ...]
    given: tuple[Excerpt, ...]
    notes: tuple[str, ...]
    model: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a model has written for a task. `ended`: by itself, and not for want of room."""

    text: str
    ended: bool
    notes: tuple[str, ...]
    model: str


OnPiece = Callable[[Piece], None]


class Assistant:
    """Answers questions about the workspace that `sources` gives, by the model of chat that the settings name."""

    def __init__(self, engines: Engines, settings: Callable[[], Settings], sources: Callable[[], Sources]) -> None:
        self._engines, self._settings, self._sources = engines, settings, sources

    async def answer(
        self,
        request: Request,
        on_piece: OnPiece = lambda piece: None,
        manner: Manner = AS_MARKDOWN,
    ) -> Reply:
        """Answers the last message. Raises ChatError, which says what to do.

        Without a chat model it is answered from the index alone.
        """
        messages = checked(request.messages)
        question, sources = messages[-1].content, self._sources()
        if not self._settings().model.chat.local.model_id:
            return await self._from_index(sources, question, on_piece, manner)
        before = next((each.content for each in messages[-2::-1] if each.role == USER), "")
        found = asyncio.create_task(asyncio.to_thread(material, sources, question, request.attached, before))
        found.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may wait for it any more
        try:
            engine = await self._engine(request.model)
            there = await found
            made = await self._prompt(engine, messages, there, request.parameters.max_tokens)
            if there.searched and not any(each.cited for each in made.excerpts):
                made = replace(made, notes=(*made.notes, NOTHING_FOUND))
            form = await self._form(engine, made)
            return await self._written(engine, made, form, request.parameters, on_piece, manner)
        except EngineError as error:
            raise ChatError(str(error)) from None
        finally:
            found.cancel()

    async def write(
        self,
        asked: Material,
        parameters: Parameters = AS_SUITS,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> Draft:
        """What the model writes for a task that is no conversation, such as an edit. Raises ChatError, which says what
        to do. `on_text` is given all that is written so far.
        """
        try:
            engine = await self._engine("")
            made = await self._prompt(engine, (Message(USER, asked.question),), asked, parameters.max_tokens)
            form = await self._form(engine, made)
            told, text = Thoughts(form.thinks), ""

            def read(pieces: Sequence[Piece]) -> None:
                nonlocal text
                if new := "".join(each.text for each in pieces if each.kind == TEXT):
                    text += new
                    on_text(text)

            written = await self._raw(engine, made, form, parameters, lambda new: read(told.feed(new)))
            read(told.end())
        except EngineError as error:
            raise ChatError(str(error)) from None
        return Draft(text, written.end == STOP, made.notes, (await engine.ready()).name)

    async def commit_message(self, folder: Path) -> tuple[str, tuple[str, ...]]:
        """A message for what would be committed in a folder, in the style of its last ones, and what one should know of
        it. Raises ChatError."""
        try:
            if merge := await asyncio.to_thread(git.merge_message, folder):
                return merge, (OF_A_MERGE,)
            last = await asyncio.to_thread(git.messages, folder)
            info = await (await self._engine("")).ready()
            room = int(info.context_size * CHANGES_SHARE)
            diff, withheld = await asyncio.to_thread(changes, self._sources(), folder, room)
        except (git.GitError, EngineError) as error:
            raise ChatError(str(error)) from None
        draft = await self.write(*commit_message(diff, commit.instruction(last)))
        message = commit.message_of(draft.text, commit.have_bodies(last))
        if not message:
            raise ChatError("The model has written no message. Try again, or with another model.")
        return message, tuple(NOT_GIVEN.format(name=each, why="a file that is kept from models") for each in withheld)

    async def _from_index(self, sources: Sources, question: str, on_piece: OnPiece, manner: Manner) -> Reply:
        found = await asyncio.to_thread(looked_up, sources, question)
        shown = _answer(found.excerpts, manner)
        text = shown.feed(f"{found.text}\n\n{NO_CHAT_MODEL}\n") + shown.end()
        on_piece(Piece(TEXT, text))
        return Reply(text, "", STOP, Usage(), found.excerpts, found.excerpts, (), "")

    async def _engine(self, wanted: str) -> Engine:
        engine = await self._engines.wanted(CHAT)
        info = await engine.ready()
        if wanted not in ("", info.name, self._settings().model.chat.local.model_id):
            raise ChatError(f"There is no chat model {wanted!r:.80}: it is {info.name!r}, or leave the name out.")
        return engine

    async def _prompt(self, engine: Engine, messages: tuple[Message, ...], found: Material, max_tokens: int) -> Prompt:
        info = await engine.ready()
        found = with_short_notes(found, info.context_size)
        texts = texts_to_count(messages, found)
        # Of a text that is longer than the context in any case only the beginning is looked at.
        begun = [each[: MOST_CHARACTERS_A_TOKEN * info.context_size] for each in texts]
        counted = (await engine.count(begun).result).tokens
        counts = [
            count * len(text) // max(1, len(part)) for count, text, part in zip(counted, texts, begun, strict=True)
        ]
        return prompt(messages, found, counts, Capacity(info.context_size, info.prefill_rate), max_tokens)

    async def _form(self, engine: Engine, made: Prompt) -> Form:
        dialect = engine.state.dialect or Dialect()
        return await asyncio.to_thread(form_of, dialect, tuple(each.role for each in made.messages))

    async def _written(
        self, engine: Engine, made: Prompt, form: Form, parameters: Parameters, on_piece: OnPiece, manner: Manner
    ) -> Reply:
        reader = _Reader(form, made, manner, on_piece)
        written = await self._raw(engine, made, form, parameters, reader.read)
        reader.end()
        info = await engine.ready()
        usage = Usage(written.evaluated + written.reused, written.reused, written.generated)
        notes = [*made.notes, *filter(None, [form.note])]
        if written.end == REPETITION:
            notes.append(LOOPED)
        elif written.end == LENGTH and reader.text.strip():
            notes.append(CUT.format(tokens=written.generated))
        if not reader.text.strip():
            notes.append(ONLY_THOUGHTS.format(tokens=written.generated) if reader.thoughts.strip() else NO_ANSWER)
        by_number = {each.number: each for each in made.excerpts}
        cited = tuple(by_number[number] for number in reader.cited)
        end = LENGTH if written.end == LENGTH else STOP
        return Reply(reader.text, reader.thoughts, end, usage, cited, made.excerpts, tuple(notes), info.name)

    async def _raw(
        self, engine: Engine, made: Prompt, form: Form, parameters: Parameters, on_text: Callable[[str], None]
    ) -> Written:
        """What the model writes, given to `on_text` as it comes."""
        stop = (*form.stop, *parameters.stop, *self._settings().model.chat.local.additional_stop_words)
        sampling = Sampling(made.max_tokens, parameters.temperature, parameters.seed, parameters.top_p)
        job = engine.write(Write(_segments(form, made), sampling, stop, (*TAGS, *TAGS.values()), ends_loops=True))
        told = 0

        def tell(text: str) -> None:
            nonlocal told
            new, told = text[told:], len(text)
            on_text(new)

        job.on_piece = lambda: tell(job.text)
        try:
            written = await job.result
        finally:
            engine.cancel(job)  # which does nothing once it has ended
        tell(written.text)
        return written


class _Reader:
    """Tells the pieces of an answer while it is written."""

    def __init__(self, form: Form, made: Prompt, manner: Manner, on_piece: OnPiece) -> None:
        self.text = self.thoughts = ""
        self._told = Thoughts(form.thinks)
        self._shown = _answer(made.excerpts, manner)
        self._on_piece = on_piece

    @property
    def cited(self) -> list[int]:
        return self._shown.cited

    def read(self, text: str) -> None:
        """More has been written."""
        for piece in self._told.feed(text):
            self._tell(piece)

    def end(self) -> None:
        for piece in self._told.end():
            self._tell(piece)
        self._say(TEXT, self._shown.end())

    def _tell(self, piece: Piece) -> None:
        if piece.kind == THOUGHT:
            self._say(THOUGHT, without_control(piece.text))
        else:
            self._say(TEXT, self._shown.feed(piece.text))

    def _say(self, kind: str, text: str) -> None:
        if not text:
            return
        if kind == THOUGHT:
            self.thoughts += text
        else:
            self.text += text
        self._on_piece(Piece(kind, text))


def _answer(excerpts: tuple[Excerpt, ...], manner: Manner) -> Answer:
    by_number = {each.number: each for each in excerpts if each.number}
    return Answer(by_number.keys(), manner.markdown, lambda number: manner.link(by_number[number]))


def _segments(form: Form, made: Prompt) -> tuple[Segment, ...]:
    return tuple(
        Segment(part, control=True) if isinstance(part, str) else Segment(made.messages[part].content)
        for part in form.parts
    )


def file_of(excerpt: Excerpt) -> Path | None:
    """Where a cited excerpt lies."""
    return Path(excerpt.root, excerpt.path) if excerpt.cited else None

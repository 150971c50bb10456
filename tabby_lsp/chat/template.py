"""How a conversation is put to a model: its own chat template, rendered with placeholders.

The template (Jinja, out of the model's file) is given a placeholder for the text of each message. So what it makes
depends on the roles alone, and what stands around the placeholders is the model maker's: only there are control tokens
looked for. `<|im_end|>` in a question, and Jinja in it, are text.

A template is a program out of a file from the network. It runs in Jinja's sandbox, and in a process of its own, which
can be stopped (see `rendering`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tabby_lsp.chat.thoughts import opens_thought

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"

MOST_TEMPLATE = 1 << 18  # characters; the longest of those that were looked at (Llama 3.3, Qwen3, Mistral) have 8,000
MOST_OUTPUT = 1 << 18  # characters around the placeholders: a conversation of 1,000 messages has 50,000

FOLDED = "The model's chat template takes no system message: what it says stands before the first question."
MERGED = "The model's chat template takes no two turns of one side in a row: they are put together."
CHATML_INSTEAD = "The model is asked in ChatML: {why}"
PLAIN_INSTEAD = "The model is asked in plain text, as `User:` and `Assistant:`: {why}"
NO_TEMPLATE = "its file has no chat template, so it may not have been trained to answer."


class TemplateError(Exception):
    """A template that cannot be used for a conversation; the text says why."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a conversation is laid out. A text is control text of the model's; a number stands for the text of a message.

    `stop` are texts at which an answer ends, besides the model's own end. `thinks`: the answer begins within thoughts.
    """

    parts: tuple[str | int, ...]
    note: str = ""
    stop: tuple[str, ...] = ()
    thinks: bool = False


def own_form(template: str, roles: Sequence[str], bos: str = "", eos: str = "") -> Form:
    """The form that a model's template gives a conversation, the next turn being the assistant's.

    Where it refuses a system message, or two turns of one side in a row, these are put together with their neighbours.
    Raises TemplateError.
    """
    if len(template) > MOST_TEMPLATE:
        raise TemplateError(f"its chat template has {len(template):,} characters.")
    compiled = _compiled(template)
    asked: list[Turn] = [(role, (number,)) for number, role in enumerate(roles)]
    attempts = [(asked, "")]
    for change, note in ((_folded, FOLDED), (_merged, MERGED)):
        attempts += [(change(turns), f"{said} {note}".strip()) for turns, said in attempts]
    why = None
    tried: list[Any] = []
    for turns, note in attempts:
        if turns in tried:
            continue
        tried.append(turns)
        try:
            parts = _parts(compiled, turns, bos, eos)
        except TemplateError as error:
            why = why or error
        else:
            return Form(parts, note, (), opens_thought(_tail(parts)))
    raise why or TemplateError("there is nothing to ask.")


def chatml_form(roles: Sequence[str], why: str = NO_TEMPLATE) -> Form:
    """For a model that has the tokens of ChatML and no template that can be used."""
    parts: list[str | int] = []
    for number, role in enumerate(roles):
        parts += [f"<|im_start|>{role}\n", number, "<|im_end|>\n"]
    parts.append("<|im_start|>assistant\n")
    return Form(_joined(parts), CHATML_INSTEAD.format(why=why))


def plain_form(roles: Sequence[str], why: str = NO_TEMPLATE) -> Form:
    """For any other model: it goes on from a text that looks like a conversation."""
    heads = {SYSTEM: "", USER: "User: ", ASSISTANT: "Assistant: "}
    parts: list[str | int] = []
    for number, role in enumerate(roles):
        parts += [heads[role], number, "\n\n"]
    parts.append("Assistant:")
    return Form(_joined(parts), PLAIN_INSTEAD.format(why=why), ("\nUser:", "\nAssistant:"))


Turn = tuple[str, tuple[int, ...]]  # a role, and the messages whose texts it says


def _folded(turns: Sequence[Turn]) -> list[Turn]:
    """System messages are said by the user who speaks after them."""
    found: list[Turn] = []
    waiting: tuple[int, ...] = ()
    for role, said in turns:
        if role == SYSTEM:
            waiting += said
        elif role == USER:
            found.append((role, waiting + said))
            waiting = ()
        else:
            found.append((role, said))
    return [*found, (USER, waiting)] if waiting else found


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    found: list[Turn] = []
    for role, said in turns:
        if found and found[-1][0] == role:
            found[-1] = role, found[-1][1] + said
        else:
            found.append((role, said))
    return found


def _compiled(template: str) -> Any:
    """As Transformers compiles them, whose templates these are (`chat_template_utils.py`). Raises TemplateError."""
    from jinja2 import TemplateError as JinjaError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except (JinjaError, RecursionError, ValueError, SyntaxError) as error:
        raise TemplateError(f"its chat template cannot be read ({error}).") from None


def _json(value: Any, **options: Any) -> str:
    """Jinja's own writes `<` as `\\u003c`, for web pages."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))


def _refuse(why: str) -> None:
    raise TemplateError(f"its chat template refuses this conversation ({str(why)[:200]}).")


def _parts(template: Any, turns: Sequence[Turn], bos: str, eos: str) -> tuple[str | int, ...]:
    """What stands around the placeholders. Raises TemplateError if one does not come back once and in order."""
    mark = f"placeholder{secrets.token_hex(8)}"  # nothing that a template would strip, escape or look for
    messages = [{"role": role, "content": "\n\n".join(f"{mark}n{each}e" for each in said)} for role, said in turns]
    text = _output(template, messages=messages, add_generation_prompt=True, bos_token=bos, eos_token=eos, tools=None)
    parts: list[str | int] = []
    for number in [each for _, said in turns for each in said]:
        before, found, text = text.partition(f"{mark}n{number}e")
        if not found or mark in before:
            raise TemplateError("its chat template leaves a message out, says one twice or changes their order.")
        parts += [before, number]
    if mark in text:
        raise TemplateError("its chat template says a message twice.")
    return _joined([*parts, text])


def _output(template: Any, **values: Any) -> str:
    pieces, length = [], 0
    try:
        for piece in template.generate(**values):
            length += len(piece)
            if length > MOST_OUTPUT:
                raise TemplateError("its chat template writes without end.")
            pieces.append(piece)
    except TemplateError:
        raise
    except Exception as error:  # whatever a stranger's program raises, the sandbox's own errors among them
        raise TemplateError(f"its chat template fails ({type(error).__name__}: {str(error)[:200]}).") from None
    return "".join(pieces)


def _joined(parts: Iterable[str | int]) -> tuple[str | int, ...]:
    """Without empty texts, and with those that stand beside each other as one."""
    found: list[str | int] = []
    for part in parts:
        last = found[-1] if found else 0
        if isinstance(part, str) and isinstance(last, str):
            found[-1] = last + part
        elif part != "":
            found.append(part)
    return tuple(found)


def _tail(parts: Sequence[str | int]) -> str:
    return parts[-1] if parts and isinstance(parts[-1], str) else ""

"""What the server and an engine process say to each other: one type for each kind of message, known to both ends.

On the pipe a message is JSON (see `wire`): its `kind`, the `id` of the job that it is about (0: none), and as `body`
the fields of its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tabby_lsp.data import (
    AdditionalLanguage,
    Completion,
    CompletionInfo,
    CompletionRequest,
    CompletionSettings,
    Dialect,
    ModelInfo,
    ModelSettings,
    Sampling,
    Segment,
    from_json,
    to_json,
)
from tabby_lsp.engine.scheduler import AHEAD, CHAT, COMPLETION, NOTHING


class MessageError(Exception):
    """A message that this end does not understand; `id` is that of the job it is about, 0 if it has none."""

    def __init__(self, reason: str, id: int = 0) -> None:
        super().__init__(reason)
        self.id = id


# --- to the engine


@dataclass(frozen=True, slots=True)
class Load:
    """Comes first. With `completion` the model is made ready for completions, too. What is known of the user's
    `languages` holds for as long as the process lives: what is worked out of it is kept.
    """

    version: str  # of this program: it may be another one by now than that which the server runs
    model: ModelSettings
    completion: CompletionSettings | None = None
    languages: tuple[AdditionalLanguage, ...] = ()
    held: int = NOTHING  # as by `Hold`


@dataclass(frozen=True, slots=True)
class Settle:
    """Asks how the model completes under other settings: `Settled`."""

    completion: CompletionSettings


@dataclass(frozen=True, slots=True)
class Complete:
    request: CompletionRequest


@dataclass(frozen=True, slots=True)
class Write:
    """Goes on from a prompt, below completions, up to the end that the model finds or one of the texts of `stop`.

    `kept` are control tokens that are written out by their texts; any other one ends the answer. So does a text that
    goes round in circles, if `ends_loops`.
    """

    prompt: tuple[Segment, ...]
    sampling: Sampling
    stop: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    ends_loops: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """Asks how many tokens each of some texts is: `Counted`."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Another engine does work of this class: what is less urgent waits, until the next `Hold`. `NOTHING`: all goes on.

    It holds no longer than the process that says so lives: when the pipe closes, the engine ends.
    """

    priority: int


@dataclass(frozen=True, slots=True)
class Cancel:
    pass


@dataclass(frozen=True, slots=True)
class Ping:
    pass


# --- from the engine


@dataclass(frozen=True, slots=True)
class Progress:
    percent: int


@dataclass(frozen=True, slots=True)
class Ready:
    model: ModelInfo
    completion: CompletionInfo | None = None
    dialect: Dialect | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no model, and there will be none. `room`: bytes that it may take, if it needs more."""

    reason: str
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Alive:
    """The answer to a ping. `work` is another number whenever a step was done, or part of the model was loaded."""

    work: int


@dataclass(frozen=True, slots=True)
class Piece:
    text: str


@dataclass(frozen=True, slots=True)
class Settled:
    info: CompletionInfo


@dataclass(frozen=True, slots=True)
class Completed:
    completion: Completion


@dataclass(frozen=True, slots=True)
class Written:
    text: str
    evaluated: int  # tokens of the prompt that were computed
    reused: int  # and those that were still known
    generated: int
    end: str  # "stop", "length" if there was no room for more, or "repetition" if it went round in circles


@dataclass(frozen=True, slots=True)
class Counted:
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    """The job cannot be done."""

    reason: str


Request = Settle | Complete | Write | Count
Answer = Settled | Completed | Written | Counted
ToEngine = Load | Request | Hold | Cancel | Ping
Message = ToEngine | Progress | Ready | Failed | Alive | Piece | Answer | Cancelled | Refused

_TYPES: dict[str, type[Message]] = {each.__name__.lower(): each for each in get_args(Message)}


def priority(request: Request) -> int:
    """The class of a job: see `scheduler`."""
    if isinstance(request, Write | Count):
        return CHAT
    return AHEAD if isinstance(request, Complete) and request.request.ahead else COMPLETION


def pack(message: Message, id: int = 0) -> dict[str, Any]:
    return {"kind": type(message).__name__.lower(), "id": id, "body": to_json(message)}


def unpack(packed: Mapping[str, Any]) -> tuple[Message, int]:
    """The inverse of `pack`. Raises MessageError."""
    kind, id, body = packed.get("kind"), packed.get("id", 0), packed.get("body", {})
    id = id if isinstance(id, int) else 0
    if kind not in _TYPES or not isinstance(body, dict):
        raise MessageError(f"a message of the kind {kind!r}", id)
    try:
        return from_json(_TYPES[kind], body), id
    except (TypeError, ValueError, AttributeError) as error:
        raise MessageError(f"a message {kind!r} with other fields ({error})", id) from None

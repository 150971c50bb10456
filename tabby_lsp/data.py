"""The types that travel between the rooms and over the pipe to the engine.

Frozen, made of strings and numbers only: a value that was handed on cannot change behind anyone's back, and
`to_json` / `from_json` need no knowledge of what a type means. This module knows nothing else of the package.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file that is put before the current one in a prompt."""

    path: str  # relative to the repository, with "/"
    text: str


@dataclass(frozen=True, slots=True)
class CompletionContext:
    """What surrounds the cursor. All text has "\\n" line ends, whatever the document has.

    `prefix` and `suffix` are cut at a bounded number of characters, at line boundaries where the lines are
    short enough for that. `suffix` begins with the line end of the cursor's line: what stands right of the
    cursor on its own line is `line_suffix`.
    """

    prefix: str
    line_suffix: str = ""
    suffix: str = ""
    first_line: int = 0  # number of the document's line with which `prefix` begins, from 0
    path: str = ""  # relative to the repository, with "/"; empty for a text that has none
    repository: str = ""
    language: str = ""  # LSP language id
    snippets: tuple[Snippet, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy: the others then mean nothing.

    Of tokens beyond a share `top_p` of the probability none is taken; the default is llama.cpp's.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 0.95


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a prompt. Control tokens are looked for in what is the model maker's (`control`), and in nothing else:
    what people and files say is text, whatever it says."""

    text: str
    control: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a model's file says of how it is asked in a conversation."""

    template: str = ""  # Jinja
    bos: str = ""  # the texts of its first and last token
    eos: str = ""
    chatml: bool = False  # whether it has the tokens of ChatML


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text that the model wrote, before the filters, with the probability of each token at its turn.

    `lines`: how sure it was of each line, 0 to 1 (see `completion.confidence`).
    """

    text: str
    probabilities: tuple[float, ...]
    stop: str  # "end token", "length", "time", "line end", "scope end", "stop word", "repetition", "following line"
    lines: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another text that could stand where a completion's own does; `replace` is as there."""

    text: str
    replace: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of each stage in the engine process. `queue` is the wait for other jobs."""

    queue: float = 0.0
    prompt: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    filters: float = 0.0

    @property
    def total(self) -> float:
        return self.queue + self.prompt + self.prefill + self.decode + self.filters


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine answers. `text` is empty when there is nothing worth showing.

    `replace` is the number of characters right of the cursor that the text takes the place of.
    `evaluated` are the prompt tokens that were computed for this request, `reused` those found in the KV cache.
    `candidates` are all texts that were written, `alternatives` those that are worth showing, too, the likeliest first.
    """

    text: str
    replace: int
    model: str
    layout: str
    evaluated: int
    reused: int
    generated: int
    timing: Timing
    candidates: tuple[Candidate, ...]
    alternatives: tuple[Alternative, ...] = ()
    prompt: str = ""
    pending: str = ""  # the end of the text before the cursor that the prompt left to the model to write again
    confidence: float = 1.0  # of the first line of `text`

    @property
    def choices(self) -> tuple[Alternative, ...]:
        """All that is worth showing, its own text first."""
        return (Alternative(self.text, self.replace), *self.alternatives)


@dataclass(frozen=True, slots=True)
class AdditionalLanguage:
    """A language that the user's settings know, with the names of Tabby's `[[additional_languages]]`."""

    languages: tuple[str, ...]  # LSP language ids; the first is that of the files, but for what has one of the others
    exts: tuple[str, ...] = ()  # of files, without a dot
    line_comment: str = ""
    top_level_keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model that the user's settings give a name, beside those of `models/registry.toml`."""

    name: str = ""
    source: str = ""  # a path, org/repo[:quantisation], org/repo/file.gguf or an https address
    sha256: str = ""
    roles: tuple[str, ...] = ()  # completion, chat
    licence: str = ""


@dataclass(frozen=True, slots=True)
class OwnAction:
    """A code action of the user's own: what a chat model is asked to do with a passage."""

    title: str = ""
    prompt: str = ""
    languages: tuple[str, ...] = ()  # LSP language ids in which it is offered; none: in all
    edits: bool = False  # whether the answer takes the place of the passage, or is told in a conversation


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a model is loaded with: an engine process has one model, for whatever jobs it is asked."""

    path: str
    device: str = "auto"  # auto, cpu, gpu
    gpu_layers: int = 9999
    context_size: int = 4096  # tokens of one prompt and its answer
    parallelism: int = 2  # documents whose prompts are kept in the KV cache
    threads: int = 0  # 0: chosen from the machine
    repacked: bool = True  # whether llama.cpp may lay the weights out anew for the CPU's own matrix kernels
    reserved: int = 0  # bytes that are free, and meant for other models


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """How a model is asked for completions. Travels with each request: another one needs no other process."""

    layout: str = "auto"  # auto, prefix-first, suffix-first
    prompt_template: str = ""
    stop_words: tuple[str, ...] = ()
    max_prompt_tokens: int = 0  # 0: chosen from the measured prefill speed
    speculation: bool = True
    confidence: float = -1.0  # that the model must have in what is shown, 0 to 1; -1: a cautious one


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One completion, of so many candidates.

    `document` tells the prompts of one text from those of another. What is made `ahead` of a request is dropped at the
    next one. Who is `unhurried` has the full prompt read and the suggestion written to its end, however long that
    takes. `reads_ahead`: after a quick prompt larger ones are read for the next request.
    """

    document: str
    context: CompletionContext
    sampling: Sampling
    settings: CompletionSettings = CompletionSettings()
    candidates: int = 1
    ahead: bool = False
    unhurried: bool = False
    reads_ahead: bool = False
    show_prompt: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model, as shown by `doctor`, `tabby/status` and `complete --json`."""

    name: str
    path: str
    description: str  # llama.cpp's: architecture, size class, quantisation
    device: str
    gpu_layers: int
    threads: int
    context_size: int
    parallelism: int
    memory_needed: int  # bytes: weights, KV cache and compute buffers, estimated before loading
    prefill_rate: float  # tokens per second, measured at loading
    notes: tuple[str, ...] = ()  # what the user should know once


@dataclass(frozen=True, slots=True)
class CompletionInfo:
    """How a loaded model completes under its `CompletionSettings`."""

    family: str
    layout: str
    max_prompt_tokens: int
    confidence: float  # that it must have in what is shown, 0 to 1
    uses_context: bool  # whether it gains by pieces of other files
    context_room: int  # characters of them for which its full prompt has room
    notes: tuple[str, ...] = ()  # what the user should know once


@dataclass(frozen=True, slots=True)
class Build:
    """What the installed llama.cpp was built with, and what it has found here."""

    version: str  # of llama-cpp-python
    features: tuple[str, ...]  # of the processor, that its kernels use
    backends: tuple[str, ...]  # CPU, CUDA, Metal, …
    devices: tuple[str, ...]  # each with its description
    gpus: int  # of the devices


def to_json(value: Any) -> dict[str, Any]:
    """The value as nested dicts and lists."""
    return dataclasses.asdict(value)


def from_json(kind: type[T], value: Mapping[str, Any]) -> T:
    """The inverse of `to_json`. Raises TypeError on a missing or unknown field."""
    fields = _fields(kind)  # type: ignore[arg-type]  # a type is hashable
    if unknown := value.keys() - fields.keys():
        raise TypeError(f"no field {min(unknown)!r}")
    return kind(**{name: restore(value[name]) if (restore := fields[name]) else value[name] for name in value})


@functools.cache
def _fields(kind: type[Any]) -> dict[str, Callable[[Any], Any] | None]:
    """How each field of a type is restored. Worked out once: the type hints of an answer take a millisecond."""
    return {name: _restoring(hint) for name, hint in get_type_hints(kind).items()}


def _restoring(hint: Any) -> Callable[[Any], Any] | None:
    """What makes a field's value out of JSON's, or None where they are the same."""
    if isinstance(hint, types.UnionType):  # a type or None
        whole = _restoring(get_args(hint)[0])
        return whole and (lambda value: None if value is None else whole(value))
    if get_origin(hint) is tuple:
        restore = _restoring(get_args(hint)[0])
        return tuple if restore is None else lambda items: tuple(map(restore, items))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return functools.partial(from_json, hint)
    return None

"""The settings: one tree of frozen dataclasses whose defaults and help texts are the reference. Knows not where they
come from: see `config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tabby_lsp.data import AdditionalLanguage, OwnAction, OwnModel

# A table of names, each on (true) or off. Pairs, since a dict could be changed.
Switches = tuple[tuple[str, bool], ...]
OTHERS = "*"  # the name for all that have no switch of their own


def _setting(default: Any, help: str, **rules: Any) -> Any:
    """A field with its help text. Rules: `choices`, `minimum`, `maximum`, `restricted` (trusted layers only),
    `switches` (a table of them; other layers may only switch off), `model` (a path or the name of one)."""
    return field(default=default, metadata={"help": help, **rules})


def is_on(switches: Switches, name: str) -> bool:
    """Whether a table of switches leaves a name on, as is what it does not name."""
    by_name = dict(switches)
    return by_name.get(name, by_name.get(OTHERS, True))


# Beyond what any model or machine has: a number with which a mistake would be taken for a wish.
MOST_TOKENS, MOST_LAYERS, MOST_THREADS = 1 << 20, 9999, 512
MOST_MINUTES = 7 * 24 * 60  # a week; who wants it longer wants 0


@dataclass(frozen=True, slots=True)
class LocalModel:
    """What every role has. All of it is restricted: the model reads what is open, and what it takes of the machine is
    the user's."""

    model_id: str = _setting("", "A model for a role.", restricted=True, model=True)
    device: str = _setting(
        "auto",
        "Where the model runs: `auto` (a GPU if llama.cpp finds one), `cpu`, `gpu`, or the names of devices as "
        "`tabby-lsp doctor` lists them, with commas between.",
        restricted=True,
    )
    num_gpu_layers: int = _setting(
        MOST_LAYERS,
        "Layers that are put on the GPU, as far as there is room for them.",
        minimum=0,
        maximum=MOST_LAYERS,
        restricted=True,
    )
    context_size: int = _setting(
        4096,
        "Tokens of a prompt and its answer together; fewer where there is no memory for them.",
        minimum=128,
        maximum=MOST_TOKENS,
        restricted=True,
    )
    parallelism: int = _setting(
        2, "Documents whose prompts are kept in the KV cache at once.", minimum=1, maximum=16, restricted=True
    )
    threads: int = _setting(
        0,
        "CPU threads. 0: as many as are fastest at the time, which is measured, beginning with the fast cores.",
        minimum=0,
        maximum=MOST_THREADS,
        restricted=True,
    )
    idle_unload: int = _setting(
        0,
        "Minutes without a request after which the model's process is ended, which gives back its memory; the next "
        "request loads it again. 0: never.",
        minimum=0,
        maximum=MOST_MINUTES,
        restricted=True,
    )
    additional_stop_words: tuple[str, ...] = _setting((), "Texts at which an answer ends.", restricted=True)


@dataclass(frozen=True, slots=True)
class LocalCompletionModel(LocalModel):
    model_id: str = _setting(
        "",
        "A GGUF file, a folder that holds one (`./name` for one beside `config.toml`), or a model's name as `tabby-lsp "
        "models` and Tabby write it. Empty: the bundled starter model.",
        restricted=True,
        model=True,
    )
    prompt_template: str = _setting(
        "",
        "Takes the place of the model's own FIM prompt; must hold `{prefix}`, may hold `{suffix}`.",
        restricted=True,
    )


@dataclass(frozen=True, slots=True)
class LocalChatModel(LocalModel):
    model_id: str = _setting(
        "",
        "The model of chat, named as that of completion is. It is loaded when it is first needed; if it is the file "
        "of completion, it is loaded once for both, with the larger `context_size` and `parallelism` of the two. "
        "Empty: none.",
        restricted=True,
        model=True,
    )
    idle_unload: int = _setting(15, "As for completion.", minimum=0, maximum=MOST_MINUTES, restricted=True)


@dataclass(frozen=True, slots=True)
class CompletionModel:
    local: LocalCompletionModel = LocalCompletionModel()


@dataclass(frozen=True, slots=True)
class ChatModel:
    local: LocalChatModel = LocalChatModel()


@dataclass(frozen=True, slots=True)
class Models:
    completion: CompletionModel = CompletionModel()
    chat: ChatModel = ChatModel()


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    max_decoding_tokens: int = _setting(64, "Tokens of a suggestion.", minimum=1, maximum=4096)
    max_prompt_tokens: int = _setting(
        0,
        "Tokens of a prompt. 0: as many as the model reads in twelve seconds, which happens ahead of time; after a "
        "jump a smaller one serves first.",
        minimum=0,
        maximum=MOST_TOKENS,
    )
    temperature: float = _setting(
        0.0, "0 takes the likeliest token every time; more is more varied.", minimum=0.0, maximum=2.0
    )
    seed: int = _setting(0, "Seed for temperatures above 0.", minimum=0, maximum=2**31 - 1)
    layout: str = _setting(
        "auto",
        "Order of the prompt. `auto` is what suits the model; another order only where it was trained on it.",
        choices=("auto", "prefix-first", "suffix-first"),
    )
    candidates: int = _setting(
        3,
        "Suggestions to choose from where you ask for one, in editors with inline completion. No more than "
        "`parallelism` and one.",
        minimum=1,
        maximum=17,
    )
    speculation: bool = _setting(
        True, "Whether several tokens are tried at once where the text looks like one nearby. It changes no suggestion."
    )
    ahead: bool = _setting(
        True,
        "Whether what may be wanted next is worked out in idle moments: the suggestion after the one that is shown, "
        "and more of the text around a place that you have jumped to. Not on battery.",
    )
    confidence: float = _setting(
        -1.0,
        "How sure the model must be of a suggestion that you have not asked for, 0 to 1 (1 / perplexity of its first "
        "line); 0 shows all. -1: 0.1, which leaves out mere guesses.",
        minimum=-1.0,
        maximum=1.0,
    )
    context: str = _setting(
        "auto",
        "Whether pieces of other files go into the prompt: definitions of what is used near the cursor, tests, what "
        "you edited lately, and code that looks like it. `auto`: but for the starter model, which gains little by it.",
        choices=("auto", "on", "off"),
    )
    debounce: int = _setting(
        -1,
        "Milliseconds after a key before the model is asked. -1: none, except where suggestions take many times as "
        "long as your keys are apart.",
        minimum=-1,
        maximum=10_000,
    )
    trigger: str = _setting(
        "auto",
        "`manual`: suggestions only when the editor asks on a key. The completion menu of an editor cannot tell.",
        choices=("auto", "manual"),
    )
    comments: bool = _setting(True, "Whether something is suggested in comments unasked.")
    strings: bool = _setting(True, "Whether something is suggested in strings unasked; docstrings are strings.")
    languages: tuple[tuple[str, bool], ...] = _setting(
        (),
        "In which languages something is suggested unasked: a table of LSP language ids, as `{markdown = false}`; "
        '`"*"` stands for all others. The editor\'s later settings may only switch off.',
        switches=True,
    )
    disable: tuple[str, ...] = _setting(
        (),
        "Patterns of files, as in a `.gitignore`, that no model reads: nothing is suggested in them, on a key neither, "
        "and nothing of them goes into the prompt of another file.",
        restricted=True,
    )
    method: str = _setting(
        "auto",
        "`auto`: inline completion where the editor has it, the completion menu elsewhere.",
        choices=("auto", "inline", "menu"),
    )

    def wants_context(self, gains: bool) -> bool:
        """Whether pieces of other files go into the prompt of a model that gains by them, or does not."""
        return self.context == "on" or (self.context == "auto" and gains)


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """All of it is restricted: to switch the index on, a `!pattern` and a larger limit widen what is read."""

    enabled: bool = _setting(
        True, "Whether the folders of the workspace are indexed, for what suggestions may need.", restricted=True
    )
    ignore: tuple[str, ...] = _setting(
        (), "Patterns of files that are left out, as in a `.gitignore`; above all ignore files.", restricted=True
    )
    max_file_kilobytes: int = _setting(
        1000, "Larger files are left out (1 KB is 1000 bytes).", minimum=1, maximum=100_000, restricted=True
    )
    folders: tuple[str, ...] = _setting(
        (), "Further folders that are searched, only read; with those of Tabby's `[[repositories]]`.", restricted=True
    )


@dataclass(frozen=True, slots=True)
class Settings:
    model: Models = Models()
    completion: CompletionSettings = CompletionSettings()
    index: IndexSettings = IndexSettings()
    additional_languages: tuple[AdditionalLanguage, ...] = _setting(
        (),
        "Languages of yours, as in Tabby: tables with `languages` (their names in the editor), `exts`, `line_comment` "
        "and `top_level_keywords`.",
        restricted=True,
    )
    models: tuple[OwnModel, ...] = _setting(
        (),
        "Models of yours with a name, for `tabby-lsp models` and `model_id`: tables with `name`, `source` (a path, "
        "`org/repo[:quantisation]`, `org/repo/file.gguf` or an https address) and, if you like, `sha256`, `roles` and "
        "`licence`.",
        restricted=True,
    )
    actions: tuple[OwnAction, ...] = _setting(
        (),
        "Code actions of yours, for a chat model: tables with `title` and `prompt`, and if you like `languages` (it is "
        "offered in these alone) and `edits` (the answer takes the place of the passage; else it is told).",
        restricted=True,
    )

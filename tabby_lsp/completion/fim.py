"""The fill-in-the-middle families: what each model was trained to read. Data, and how a family is recognised.

Sources: the model cards and papers named in the rows. Two rules hold for all of them: control tokens are looked
up by their text in the model's own vocabulary (most GGUF files do not say which tokens they are, and llama.cpp
knows their texts for some families only and their order for none), and the order is the one trained on.

A template is a format string: upper-case fields are control tokens, lower-case fields are text. Does not know
how text becomes tokens: see `layout`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

PREFIX_FIRST = "prefix-first"
SUFFIX_FIRST = "suffix-first"


@dataclass(frozen=True, slots=True)
class RepositoryForm:
    """The prompt with pieces of other files: each by `snippet`, all of them where `body` says `{snippets}`."""

    snippet: str
    body: Mapping[str, str]  # layout name -> template


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    tokens: Mapping[str, tuple[str, ...]]  # field of the templates -> texts of its token, the first found counts
    body: Mapping[str, str]  # layout name -> template; the first one is the default
    stop: tuple[str, ...] = ()  # control tokens that end the middle, besides the vocabulary's own end tokens
    stop_text: tuple[str, ...] = ()
    repository: RepositoryForm | None = None
    bos: bool | None = None  # None: what the vocabulary says
    names: tuple[str, ...] = ()  # if given, one of them stands in the model's name
    architectures: tuple[str, ...] = ()  # if given, one of them is the model's architecture
    coders: tuple[str, ...] = ()  # if given, others than these have the same tokens and were not trained with them
    notes: tuple[str, ...] = field(default=())


_UNDERSCORE = {"PRE": ("<fim_prefix>",), "SUF": ("<fim_suffix>",), "MID": ("<fim_middle>",)}
_BAR = {"PRE": ("<|fim_prefix|>",), "SUF": ("<|fim_suffix|>",), "MID": ("<|fim_middle|>",)}
_QWEN = {**_BAR, "REP": ("<|repo_name|>",), "SEP": ("<|file_sep|>",)}
_PSM = "{PRE}{prefix}{SUF}{suffix}{MID}"
_SPM = "{SUF}{suffix}{PRE}{prefix}{MID}"
_QWEN_HEAD = "{REP}{repository}\n{snippets}{SEP}{path}\n"
_QWEN_SNIPPET = "{SEP}{path}\n{code}\n"
# StarCoder's and CodeLlama's suffix-first form keeps the prefix token in front ("SPMv2" of the FIM paper,
# arXiv 2207.14255, section 4.4).
_SPM_JOINT = "{PRE}{SUF}{suffix}{MID}{prefix}"

FAMILIES: tuple[Family, ...] = (
    Family(  # this project's own: tabby_lsp/models/starter/MODEL_CARD.md
        "tabby-starter",
        _QWEN,
        {SUFFIX_FIRST: _SPM, PREFIX_FIRST: _PSM},
        repository=RepositoryForm(_QWEN_SNIPPET, {SUFFIX_FIRST: _QWEN_HEAD + _SPM, PREFIX_FIRST: _QWEN_HEAD + _PSM}),
        bos=False,
        names=("tabby-starter",),
    ),
    Family(  # JetBrains/Mellum-4b-base: suffix first, the file's name always before it
        "mellum",
        {**_UNDERSCORE, "SEP": ("<filename>",)},
        {SUFFIX_FIRST: "{SEP}{path}\n" + _SPM},
        stop=("<filename>",),
        repository=RepositoryForm("{SEP}{path}\n{code}\n", {SUFFIX_FIRST: "{snippets}{SEP}{path}\n" + _SPM}),
        names=("mellum",),
    ),
    Family(  # StarCoder2 paper, section 5.1: the path stands inside the prefix
        "starcoder2",
        {**_UNDERSCORE, "REP": ("<repo_name>",), "SEP": ("<file_sep>",)},
        {PREFIX_FIRST: _PSM, SUFFIX_FIRST: _SPM_JOINT},
        stop=("<|endoftext|>", "<file_sep>", "<repo_name>"),
        repository=RepositoryForm(
            "{SEP}{path}\n{code}",
            {PREFIX_FIRST: "{REP}{repository}{snippets}{SEP}{PRE}{path}\n{prefix}{SUF}{suffix}{MID}"},
        ),
        architectures=("starcoder2",),
    ),
    Family("granite-4", _BAR, {PREFIX_FIRST: _PSM}, stop=("<|end_of_text|>",), names=("granite",)),
    Family(
        "granite",
        _UNDERSCORE,
        {PREFIX_FIRST: _PSM},
        stop=("<|endoftext|>", "<|end_of_text|>"),
        names=("granite",),
    ),
    Family(
        "codegemma",
        {**_BAR, "SEP": ("<|file_separator|>",)},
        {PREFIX_FIRST: _PSM},
        stop=("<|file_separator|>", "<end_of_turn>", "<eos>"),
        bos=True,
        architectures=("gemma", "gemma2", "gemma3"),
    ),
    Family(  # Qwen2.5-Coder and Qwen3-Coder: prefix first only, no BOS
        "qwen-coder",
        _QWEN,
        {PREFIX_FIRST: _PSM},
        stop=("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|fim_pad|>"),
        repository=RepositoryForm(_QWEN_SNIPPET, {PREFIX_FIRST: _QWEN_HEAD + _PSM}),
        bos=False,
        coders=("coder",),  # Qwen2.5, Qwen3 and what is distilled into them have its vocabulary
    ),
    Family(
        "santacoder",
        {"PRE": ("<fim-prefix>",), "SUF": ("<fim-suffix>",), "MID": ("<fim-middle>",)},
        {PREFIX_FIRST: _PSM},
        stop=("<|endoftext|>", "<fim-pad>"),
    ),
    Family("refact", _UNDERSCORE, {PREFIX_FIRST: _PSM}, stop=("<|endoftext|>",), architectures=("refact",)),
    Family(  # StarCoder, CodeQwen1.5, StableCode-3B
        "starcoder",
        _UNDERSCORE,
        {PREFIX_FIRST: _PSM, SUFFIX_FIRST: _SPM_JOINT},
        stop=("<|endoftext|>", "<file_sep>", "<filename>", "<fim_pad>"),
    ),
    Family(  # CodeLlama 7B and 13B; the blank before the prefix is the tokenizer's dummy prefix in training
        "codellama",
        {"PRE": ("▁<PRE>", "<PRE>"), "SUF": ("▁<SUF>", "<SUF>"), "MID": ("▁<MID>", "<MID>")},
        {PREFIX_FIRST: "{PRE} {prefix}{SUF}{suffix}{MID}", SUFFIX_FIRST: "{PRE}{SUF}{suffix}{MID} {prefix}"},
        stop=("▁<EOT>", "<EOT>"),
        bos=True,
    ),
    Family(  # DeepSeek-Coder and V2-Lite: "hole" stands where the middle was taken out, "end" asks for it
        "deepseek-coder",
        {"PRE": ("<｜fim▁begin｜>",), "SUF": ("<｜fim▁hole｜>",), "MID": ("<｜fim▁end｜>",)},
        {PREFIX_FIRST: _PSM},
        stop=("<｜end▁of▁sentence｜>",),
        bos=True,
        coders=("coder",),  # all that DeepSeek publishes has its vocabulary
    ),
    Family(  # Codestral: no middle token; the names of other Mistral models have the same vocabulary, untrained
        "codestral",
        {"PRE": ("[PREFIX]",), "SUF": ("[SUFFIX]",)},
        {SUFFIX_FIRST: "{SUF}{suffix}{PRE} {prefix}"},
        stop_text=("\n+++++ ",),
        repository=RepositoryForm(
            "+++++ {path}\n{code}\n\n", {SUFFIX_FIRST: "{SUF}{suffix}{PRE} {snippets}+++++ {path}\n{prefix}"}
        ),
        bos=True,
        names=("codestral",),
    ),
    Family(
        "seed-coder",
        {"PRE": ("<[fim-prefix]>",), "SUF": ("<[fim-suffix]>",), "MID": ("<[fim-middle]>",)},
        {SUFFIX_FIRST: _SPM},
        stop=("<[end▁of▁sentence]>",),
    ),
    Family(  # CodeGeeX4's infilling guideline: a chat turn that holds the file's path and language
        "codegeex4",
        {
            "PRE": ("<|code_prefix|>",),
            "SUF": ("<|code_suffix|>",),
            "MID": ("<|code_middle|>",),
            "USER": ("<|user|>",),
            "ASSISTANT": ("<|assistant|>",),
        },
        {SUFFIX_FIRST: "{USER}\n###PATH:{path}\n###LANGUAGE:{language}\n###MODE:BLOCK\n" + _SPM + "{ASSISTANT}\n"},
        stop=("<|user|>", "<|endoftext|>"),
        repository=RepositoryForm(
            "###REFERENCE:\n###PATH:{path}\n{code}\n",
            {
                SUFFIX_FIRST: "{USER}\n{snippets}###PATH:{path}\n###LANGUAGE:{language}\n###MODE:BLOCK\n"
                + _SPM
                + "{ASSISTANT}\n"
            },
        ),
        names=("codegeex",),  # GLM 4.5 has the same tokens and no such turns
    ),
)

PREFIX_ONLY = Family(
    "none",
    {},
    {PREFIX_FIRST: "{prefix}"},
    notes=("The model has no fill-in-the-middle tokens: it completes from the text before the cursor alone.",),
)

_LIKE_FIM = re.compile(r"fim|infill|prefix|suffix|middle|hole", re.IGNORECASE)
_SETTING = "model.completion.local.prompt_template"


def recognise(name: str, architecture: str, token: Callable[[str], int | None]) -> Family:
    """The family of a model, by its name, architecture and the texts in its vocabulary.

    `token` gives the id of the token with exactly that text. `PREFIX_ONLY` where no family fits.
    """
    name = name.lower()
    for family in FAMILIES:
        if family.names and not any(each in name for each in family.names):
            continue
        if family.architectures and architecture not in family.architectures:
            continue
        if all(any(token(text) is not None for text in texts) for texts in family.tokens.values()):
            return family
    return PREFIX_ONLY


def unfamiliar(roles: Mapping[str, str], controls: Iterable[str]) -> Family:
    """For a model of no family: by the texts of PRE, SUF and MID, as its file or llama.cpp says which they are; or else
    `PREFIX_ONLY`, which says what looks like them."""
    if roles.keys() >= {"PRE", "SUF", "MID"}:
        told = " ".join(roles[role] for role in ("PRE", "SUF", "MID"))
        note = (
            f"The model is of no family that is known. It has tokens for the middle ({told}) and is asked with the "
            "prefix first, as most are. If what it writes does not fit, set completion.layout = 'suffix-first' or "
            f"{_SETTING}."
        )
        tokens = {role: (text,) for role, text in roles.items()}
        return Family("unknown", tokens, {PREFIX_FIRST: _PSM, SUFFIX_FIRST: _SPM}, notes=(note,))
    alike = [text for text in controls if _LIKE_FIM.search(text)]
    if not alike:
        return PREFIX_ONLY
    note = (
        f"The model is of no family that is known. Some of its tokens may be for the middle ({' '.join(alike[:6])}), "
        "but nothing says how: it completes from the text before the cursor alone. If you know how it was trained, set "
        f"{_SETTING}, as in <a>{{prefix}}<b>{{suffix}}<c>."
    )
    return replace(PREFIX_ONLY, notes=(note,))


def doubts(family: Family, name: str) -> tuple[str, ...]:
    """Why a model may not do what the others of its family do, by its name."""
    if not family.coders or any(each in name.lower() for each in family.coders):
        return ()
    return (
        f"The model has the tokens of {family.name} for the middle, but nothing in its name says that it was trained "
        "with them: a general or a reasoning model is not, and then what it writes does not fit. Choose a coder, or "
        f"let it read the text before the cursor alone: {_SETTING} = '{{prefix}}'.",
    )

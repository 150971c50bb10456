"""One vocabulary for each fill-in-the-middle family, as a GGUF file that llama.cpp loads.

Three are llama.cpp's own (see `vocabularies/README.md`). The others are made here: the control tokens with the
texts, places and types that the real files give them, and the ordinary tokens of StarCoder2's first merges.
Does not know prompts.
"""

from __future__ import annotations

import ctypes
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gguf
import llama_cpp
from gguf import TokenType

from tabby_lsp.engine.vocab import Vocab

FOLDER = Path(__file__).with_name("vocabularies")

_STARCODER = (
    "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <filename> <gh_stars> <issue_start> "
    "<issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <empty_output> "
    "<commit_before> <commit_msg> <commit_after> <reponame>"
)
_QWEN = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
)
_QWEN_FIM = "<|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"


@dataclass(frozen=True)
class Recipe:
    """What a real file of a family says, as far as prompts depend on it. Token texts are separated by blanks."""

    name: str  # general.name
    architecture: str
    pre: str = ""  # pre-tokenizer of a byte-level BPE; empty for a SentencePiece vocabulary
    first: str = ""  # control tokens before the ordinary ones
    last: str = ""  # control tokens behind them
    user_defined: str = ""  # those of them that the file does not mark as control: found in plain text too
    runs: tuple[str, ...] = ()  # user-defined tokens that are ordinary text
    pieces: str = ""  # ordinary tokens behind the others; a control token's text among them is made by merging
    bos: str = ""
    eos: str = ""
    add_bos: bool | None = None
    add_space_prefix: bool | None = None
    basename: str = ""


RECIPES = {
    "santacoder": Recipe(
        "santacoder",
        "starcoder",
        "starcoder",
        last="<|endoftext|> <fim-prefix> <fim-middle> <fim-suffix> <fim-pad>",
        bos="<|endoftext|>",
        eos="<|endoftext|>",
    ),
    "starcoder": Recipe(
        "StarCoderBase 1b", "starcoder", "starcoder", first=_STARCODER, bos="<|endoftext|>", eos="<|endoftext|>"
    ),
    # SentencePiece, and the tokens of the middle are no control tokens.
    "codeqwen": Recipe(
        "CodeQwen1.5 7B",
        "qwen2",
        first="<s> <|endoftext|> <|im_start|> <|im_end|>",
        last="<fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <filename> <gh_stars> <reponame> <file_sep>",
        user_defined="<fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <filename> <gh_stars> <reponame> <file_sep>",
        bos="<s>",
        eos="<|endoftext|>",
        add_bos=False,
    ),
    "stable-code": Recipe(
        "Stable Code 3b",
        "stablelm",
        "starcoder",
        first="<|endoftext|> <|padding|>",
        last="<fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <gh_stars> <filename> <issue_start> <reponame>",
        bos="<|endoftext|>",
        eos="<|endoftext|>",
    ),
    "granite-3": Recipe(
        "Granite 3.3 8b Base",
        "granite",
        "refact",
        first=_STARCODER.replace("<|endoftext|>", "<|end_of_text|>"),
        last="<|start_of_role|> <|end_of_role|> <|tool_call|>",
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
        add_bos=False,
        basename="granite-3.3",
    ),
    "granite-4": Recipe(
        "Granite 4.0 H Tiny Base",
        "granitehybrid",
        "dbrx",
        last="<|pad|> <|end_of_text|> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|filename|> "
        "<|reponame|> <|start_of_role|> <|end_of_role|> <|tool_call|>",
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
        add_bos=False,
        basename="granite-4.0-h",
    ),
    # The tokens of the middle are ordinary pieces, which SentencePiece makes of the text " <PRE>" by itself.
    "codellama": Recipe(
        "codellama_codellama-7b-hf",
        "llama",
        first="<s> </s>",
        pieces="▁< PR PRE SU F M ID E OT ▁<SU ▁<SUF ▁<PRE ▁<M ▁<MID ▁<E ▁<EOT ▁<PRE> ▁<SUF> ▁<MID> ▁<EOT>",
        bos="<s>",
        eos="</s>",
        add_bos=True,
        add_space_prefix=True,
    ),
    "codellama-34b": Recipe(
        "codellama_codellama-34b-hf",
        "llama",
        first="<s> </s>",
        bos="<s>",
        eos="</s>",
        add_bos=True,
        add_space_prefix=True,
    ),
    "qwen2.5-coder": Recipe(
        "Qwen2.5 Coder 1.5B",
        "qwen2",
        "qwen2",
        last=f"{_QWEN} <tool_call> </tool_call> {_QWEN_FIM}",
        user_defined="<tool_call> </tool_call>",
        bos="<|endoftext|>",
        eos="<|endoftext|>",
        add_bos=False,
        basename="Qwen2.5-Coder",
    ),
    "qwen3-coder": Recipe(
        "Qwen3 Coder 30B A3B Instruct",
        "qwen3moe",
        "qwen2",
        last=f"{_QWEN} <tool_call> </tool_call> {_QWEN_FIM} <tool_response> </tool_response> <think> </think>",
        user_defined="<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>",
        bos="<|endoftext|>",
        eos="<|im_end|>",
        add_bos=False,
        basename="Qwen3-Coder",
    ),
    "codegemma": Recipe(
        "codegemma-2b",
        "gemma",
        first="<pad> <eos> <bos> <mask> <2mass> [@BOS@] <unused0> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> "
        "<|file_separator|> <start_of_turn> <end_of_turn>",
        runs=("\n\n", "\n\n\n", "  ", "    ", "        ", "<table>"),
        bos="<bos>",
        eos="<eos>",
        add_bos=True,
        add_space_prefix=False,
    ),
    "codestral": Recipe(
        "Codestral-22B-v0.1",
        "llama",
        first="<s> </s> [INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] "
        "[/TOOL_RESULTS] [PREFIX] [MIDDLE] [SUFFIX]",
        bos="<s>",
        eos="</s>",
        add_bos=True,
        add_space_prefix=True,
    ),
    "codestral-early": Recipe(
        "Codestral-22B-v0.1",
        "llama",
        first="<s> </s> [INST] [/INST]",
        bos="<s>",
        eos="</s>",
        add_bos=True,
        add_space_prefix=True,
    ),
    "seed-coder": Recipe(
        "Seed Coder 8B Base",
        "llama",
        "seed-coder",
        first="<[begin▁of▁sentence]> <[PAD▁TOKEN]> <[end▁of▁sentence]> <[SEP▁TOKEN]> <[fim-suffix]> <[fim-prefix]> "
        "<[fim-middle]>",
        bos="<[begin▁of▁sentence]>",
        eos="<[end▁of▁sentence]>",
        basename="Seed-Coder",
    ),
    "mellum": Recipe(
        "Mellum 4b Base",
        "llama",
        "mellum",
        first=_STARCODER,
        bos="<|endoftext|>",
        eos="<|endoftext|>",
        basename="Mellum",
    ),
    "codegeex4": Recipe(
        "Codegeex4 All 9b",
        "chatglm",
        "chatglm-bpe",
        last="<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> <|observation|> "
        "<|begin_of_image|> <|end_of_image|> <|code_prefix|> <|code_middle|> <|code_suffix|>",
        eos="<|endoftext|>",
        add_bos=False,
        basename="codegeex4-all",
    ),
    "glm-4.5": Recipe(
        "Glm 4.5 Air",
        "glm4moe",
        "glm4",
        last="<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> <|observation|> "
        "<|code_prefix|> <|code_middle|> <|code_suffix|> /nothink",
        eos="<|endoftext|>",
        add_bos=False,
        basename="Glm-4.5",
    ),
    "unheard-of": Recipe(
        "Novel 1b",
        "llama",
        "qwen2",
        last="<|endoftext|> <hole_before> <hole_after> <hole>",
        eos="<|endoftext|>",
        add_bos=False,
    ),
    "tabby-starter": Recipe(
        "tabby-starter",
        "qwen2",
        "qwen2",
        last=f"<|endoftext|> {_QWEN_FIM} <|im_start|> <|im_end|>",
        eos="<|endoftext|>",
        add_bos=False,
        basename="tabby-starter",
    ),
    "gpt-2": Recipe("gpt2", "gpt2", "gpt-2", last="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>"),
}

# Those of llama.cpp's vocabularies. DeepSeek's file marks all but the first two as user-defined.
_REAL_CONTROLS = {
    "starcoder2": "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <repo_name> <file_sep> "
    "<issue_start> <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> "
    "<jupyter_script> <empty_output> <code_to_intermediate> <intermediate_to_code> <pr> <pr_status> <pr_is_merged>",
    "refact": _STARCODER,
    "deepseek-coder": "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜fim▁hole｜> <｜fim▁begin｜> <｜fim▁end｜> "
    "<pad> <|User|> <|Assistant|> <|EOT|>",
}

NAMES = (*RECIPES, *_REAL_CONTROLS)

# The models' memory belongs to llama.cpp: a Vocab is a view of it.
_models: list[object] = []


@llama_cpp.llama_log_callback
def _silence(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    """llama.cpp writes hundreds of lines for each file."""


def control_texts(name: str) -> tuple[str, ...]:
    """The texts of a vocabulary's tokens that no buffer may bring into a prompt."""
    recipe = RECIPES.get(name)
    if recipe is None:
        return tuple(_REAL_CONTROLS[name].split())
    merged = [each for each in recipe.pieces.split() if each.endswith(">")]
    return (*recipe.first.split(), *recipe.last.split(), *merged)


def vocabulary(name: str, folder: Path) -> Vocab:
    """The vocabulary of that name, loaded by llama.cpp as `engine.model` does; its file is made in `folder`."""
    path = folder / name / "model.gguf"
    path.parent.mkdir()
    if name in RECIPES:
        _write(RECIPES[name], path)
    else:
        path.write_bytes(lzma.decompress((FOLDER / f"{name}.gguf.xz").read_bytes()))
    llama_cpp.llama_log_set(_silence, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    overrides = (llama_cpp.llama_model_kv_override * 2)()
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_BOOL
    overrides[0].key = b"tokenizer.ggml.add_space_prefix"
    overrides[0].value.val_bool = False
    params.kv_overrides = overrides
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    assert model, f"llama.cpp cannot load {path}"
    _models.append(model)
    names = f"{_metadata(model, 'general.name')} {_metadata(model, 'general.basename')} {path.stem}"
    return Vocab(llama_cpp.llama_model_get_vocab(model), names, _metadata(model, "general.architecture"))


def _metadata(model: object, key: str) -> str:
    buffer = ctypes.create_string_buffer(512)
    size = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode() if size >= 0 else ""


def _write(recipe: Recipe, path: Path) -> None:
    tokens = list(_byte_level_tokens(recipe) if recipe.pre else _sentencepiece_tokens(recipe))
    texts = [text for text, _, _ in tokens]
    out = gguf.GGUFWriter(str(path), recipe.architecture)
    out.add_name(recipe.name)
    if recipe.basename:
        out.add_string("general.basename", recipe.basename)
    out.add_tokenizer_model("gpt2" if recipe.pre else "llama")
    if recipe.pre:
        out.add_tokenizer_pre(recipe.pre)
        out.add_token_merges([f"{left} {right}" for left, right in _merges()])
    else:
        out.add_token_scores([score for _, _, score in tokens])
        out.add_unk_token_id(texts.index("<unk>"))
    out.add_token_list(texts)
    out.add_token_types([kind for _, kind, _ in tokens])
    if recipe.bos:
        out.add_bos_token_id(texts.index(recipe.bos))
    if recipe.eos:
        out.add_eos_token_id(texts.index(recipe.eos))
    if recipe.add_bos is not None:
        out.add_add_bos_token(recipe.add_bos)
    if recipe.add_space_prefix is not None:
        out.add_add_space_prefix(recipe.add_space_prefix)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()


Token = tuple[str, TokenType, float]  # text, type, score: the higher the score, the earlier SentencePiece merges


def _controls(recipe: Recipe, texts: str) -> list[Token]:
    user_defined = recipe.user_defined.split()
    return [
        (text, TokenType.USER_DEFINED if text in user_defined else TokenType.CONTROL, 0.0) for text in texts.split()
    ]


def _byte_level_tokens(recipe: Recipe) -> list[Token]:
    ordinary = [*_byte_alphabet().values(), *("".join(pair) for pair in _merges())]
    return [
        *_controls(recipe, recipe.first),
        *((text, TokenType.NORMAL, 0.0) for text in ordinary),
        *_controls(recipe, recipe.last),
    ]


def _sentencepiece_tokens(recipe: Recipe) -> list[Token]:
    """The same merges, with "▁" for a blank; everything else than ASCII falls back to bytes."""
    blank, printable = _byte_alphabet()[ord(" ")], {chr(byte) for byte in range(0x21, 0x7F)}
    learned = [text for pair in _merges() if printable.issuperset((text := "".join(pair)).replace(blank, ""))]
    ranked = [*(text.replace(blank, "▁") for text in learned), "▁", *sorted(printable)]
    pieces = [text for text in recipe.pieces.split() if text not in ranked]
    return [
        ("<unk>", TokenType.UNKNOWN, 0.0),
        *_controls(recipe, recipe.first),
        *((text, TokenType.USER_DEFINED, 0.0) for text in recipe.runs),
        *((f"<0x{byte:02X}>", TokenType.BYTE, 0.0) for byte in range(256)),
        *((text, TokenType.NORMAL, float(-rank)) for rank, text in enumerate(ranked)),
        *((text, TokenType.NORMAL, 0.0) for text in pieces),
        *_controls(recipe, recipe.last),
    ]


@cache
def _byte_alphabet() -> dict[int, str]:
    """GPT-2's: every byte as a printable character, most as themselves."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    return {byte: chr(byte) for byte in itself} | {byte: chr(256 + i) for i, byte in enumerate(others)}


@cache
def _merges() -> list[tuple[str, str]]:
    """Pairs of tokens, the more frequent first, each after what it consists of."""
    pairs = (line.split(" ") for line in (FOLDER / "merges.txt").read_text(encoding="utf-8").splitlines())
    return [(left, right) for left, right in pairs]

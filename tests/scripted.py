"""A model that says what a test wants it to say, through the real llama.cpp: each token is known by the one before it.

It has the starter's vocabulary and keys, a code of its own for each token of the script, and an output that answers
each code with the next token. Attention and feed-forward add nothing. So what it says at a hole does not depend on
the text around it, and the tests that use it not on what some model has learned. A token that stands in no text is
followed by the first of one: where the engine has it write the end of the prefix again, the text comes after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

from tabby_lsp.models import starter

WIDTH = 64
SURE = 4.0  # times the square root of WIDTH: the logit of the next token; of the others 0
LESS_SURE = 0.05  # how much lower the first token of each further text is
UNLIKELY = 0.15  # for each character, how much lower what begins no text is: the shortest is what must be written
BLOCK = {
    "attn_norm.weight": (WIDTH,),
    "ffn_norm.weight": (WIDTH,),
    "attn_q.weight": (WIDTH, WIDTH),
    "attn_q.bias": (WIDTH,),
    "attn_k.weight": (WIDTH, WIDTH),
    "attn_k.bias": (WIDTH,),
    "attn_v.weight": (WIDTH, WIDTH),
    "attn_v.bias": (WIDTH,),
    "attn_output.weight": (WIDTH, WIDTH),
    "ffn_gate.weight": (WIDTH, WIDTH),
    "ffn_up.weight": (WIDTH, WIDTH),
    "ffn_down.weight": (WIDTH, WIDTH),
}
SHAPE = {
    "qwen2.context_length": 2048,
    "qwen2.embedding_length": WIDTH,
    "qwen2.block_count": 1,
    "qwen2.feed_forward_length": WIDTH,
    "qwen2.attention.head_count": 1,
    "qwen2.attention.head_count_kv": 1,
}


def followers(texts: tuple[str, ...]) -> dict[int, dict[int, float]]:
    """For each token of the texts what follows it, with its weight; first, what follows `<|fim_middle|>`."""
    vocabulary = llama_cpp.Llama(str(starter.MODEL), vocab_only=True, verbose=False)
    middle, end = (
        vocabulary.tokenize(name, add_bos=False, special=True)[0] for name in (b"<|fim_middle|>", b"<|endoftext|>")
    )
    found: dict[int, dict[int, float]] = {middle: {}}
    for number, text in enumerate(texts):
        tokens = [*vocabulary.tokenize(text.encode(), add_bos=False), end]
        found[middle].setdefault(tokens[0], 1 - LESS_SURE * number)
        for token, following in pairwise(tokens):
            if found.setdefault(token, {following: 1.0}) != {following: 1.0}:
                raise ValueError(f"{text!r}: {vocabulary.detokenize([token])!r} is followed by two different tokens")
    vocabulary.close()
    return found


def write_scripted(path: Path, *texts: str) -> Path:
    """A GGUF file that writes the first text at every hole; where several are asked for, the others too."""
    source = gguf.GGUFReader(starter.MODEL)
    writer = gguf.GGUFWriter(path, "qwen2")
    for key, value in SHAPE.items():
        writer.add_uint32(key, value)
    for key, field in source.fields.items():
        if key not in SHAPE and not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(
                key, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None
            )
    known = followers(texts)
    if len(known) > WIDTH:
        raise ValueError(f"{len(known)} different tokens: no more than {WIDTH} have a code")
    size = len(source.fields["tokenizer.ggml.tokens"].contents())
    codes, answers = np.zeros((2, size, WIDTH), np.float32)
    codes[:, 0] = 1  # of all that stand in no text, `<|fim_middle|>` among them
    answers[:, 0] = [-SURE * UNLIKELY * len(token) for token in source.fields["tokenizer.ggml.tokens"].contents()]
    for code, (token, following) in enumerate(known.items()):
        codes[token] = np.eye(WIDTH)[code]
        for each, weight in following.items():
            answers[each, code] = SURE * weight
    tensors: Mapping[str, np.ndarray] = {
        "token_embd.weight": codes,
        "output.weight": answers,
        "output_norm.weight": np.ones(WIDTH, np.float32),
        **{f"blk.0.{name}": np.zeros(shape, np.float32) for name, shape in BLOCK.items()},
    }
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

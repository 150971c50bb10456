"""Models whose memory is no plain KV cache: recurrent ones keep one state, others see no farther back than a window.

Tiny ones with random weights and the starter's tokens are made here. What they say means nothing, but it must not
depend on what was read before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from alone import Alone, Stopped
from conftest import MODEL
from test_engine import TEXT, Eager, Office, context_in, logits

from tabby_lsp.completion.layout import choose_layout
from tabby_lsp.completion.pipeline import Budget
from tabby_lsp.data import Completion, CompletionContext, CompletionRequest, ModelSettings, Sampling
from tabby_lsp.engine import decode
from tabby_lsp.engine.draft import Draft
from tabby_lsp.engine.messages import Piece, Refused, Written
from tabby_lsp.engine.model import Model

WIDTH, LAYERS, VOCABULARY = 32, 2, 8192
Array = npt.NDArray[np.float32]


def write_recurrent(writer: gguf.GGUFWriter, chance: Callable[..., Array]) -> None:
    """Mamba (arXiv 2312.00752), with llama.cpp's names."""
    inner, state, rank, kernel = 2 * WIDTH, 16, 2, 4
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        writer.add_tensor(f"{name}attn_norm.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{name}ssm_in.weight", chance(2 * inner, WIDTH))
        writer.add_tensor(f"{name}ssm_conv1d.weight", chance(inner, kernel))
        writer.add_tensor(f"{name}ssm_conv1d.bias", chance(inner))
        writer.add_tensor(f"{name}ssm_x.weight", chance(rank + 2 * state, inner))
        writer.add_tensor(f"{name}ssm_dt.weight", chance(inner, rank))
        writer.add_tensor(f"{name}ssm_dt.bias", chance(inner))
        writer.add_tensor(f"{name}ssm_a", -np.exp(chance(inner, state)))
        writer.add_tensor(f"{name}ssm_d", np.ones(inner, np.float32))
        writer.add_tensor(f"{name}ssm_out.weight", chance(WIDTH, inner))


def write_windowed(writer: gguf.GGUFWriter, chance: Callable[..., Array]) -> None:
    """Gemma 2: every other layer sees the last 24 tokens only."""
    heads, head, inner = 2, 16, 64
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_sliding_window(24)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            writer.add_tensor(f"{name}{norm}.weight", np.ones(WIDTH, np.float32))
        for part in ("attn_q", "attn_k", "attn_v"):
            writer.add_tensor(f"{name}{part}.weight", chance(heads * head, WIDTH))
        writer.add_tensor(f"{name}attn_output.weight", chance(WIDTH, heads * head))
        writer.add_tensor(f"{name}ffn_gate.weight", chance(inner, WIDTH))
        writer.add_tensor(f"{name}ffn_up.weight", chance(inner, WIDTH))
        writer.add_tensor(f"{name}ffn_down.weight", chance(WIDTH, inner))


KINDS = {"mamba": write_recurrent, "gemma2": write_windowed}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
    numbers = np.random.default_rng(0)

    def chance(*shape: int) -> Array:
        return numbers.normal(0, 0.3, shape).astype(np.float32)

    source = gguf.GGUFReader(MODEL)
    tokens, types, merges = (
        source.fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges")
    )
    writer = gguf.GGUFWriter(path, request.param)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.add_tensor("token_embd.weight", chance(VOCABULARY, WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    KINDS[request.param](writer, chance)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Model(ModelSettings(str(path), threads=1, context_size=1024))


@pytest.fixture
def writer(model: Model) -> Alone:
    return Alone(model)


def test_what_follows_a_prompt_does_not_depend_on_what_was_read_before(writer: Alone) -> None:
    tokens = writer.vocabulary.tokenize(TEXT)[:160]
    expected = {}
    for end in (60, 100, 101, 160):
        writer.clear()
        expected[end] = logits(writer, tokens[:end])
    for end in (160, 100, 101, 60, 160, 101):  # back and forth, farther than a window
        assert np.abs(logits(writer, tokens[:end]) - expected[end]).max() < 0.05
        list(writer.decode(Sampling(5)))
    writer.prefill(tokens[:100])
    writer.model.flag.set()
    with pytest.raises(Stopped):
        list(writer.decode(Sampling(5)))
    writer.model.flag.clear()
    assert np.abs(logits(writer, tokens[:101]) - expected[101]).max() < 0.05


def test_drafts_change_nothing(writer: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even those that never come true: where they cannot be dropped again there are none."""
    prompt = writer.vocabulary.tokenize(TEXT)[:60]
    writer.speculates = False
    writer.prefill(prompt)
    plain = [token.id for token in writer.decode(Sampling(20))]
    writer.clear()
    monkeypatch.setattr(decode, "look_up", lambda *_: Draft((5, 6, 7), 3))
    writer.speculates, writer.speculation = True, Eager()
    writer.prefill(prompt)
    assert [token.id for token in writer.decode(Sampling(20))] == plain


def test_several_texts_begin_with_the_one_alone(writer: Alone) -> None:
    prompt = writer.vocabulary.tokenize(TEXT)[:90]
    writer.prefill(prompt)
    alone = [token.id for token in writer.decode(Sampling(8))]
    writer.prefill(prompt)
    texts: dict[int, list[int]] = {}
    for number, token in writer.decode_together(Sampling(8), b"", {0, 1, 2}):
        texts.setdefault(number, []).append(token.id)
    assert texts[0] == alone and len({tuple(each) for each in texts.values()}) == 3


def test_typing_gives_what_a_fresh_start_gives(writer: Alone) -> None:
    layout = choose_layout(writer.vocabulary)
    lines = TEXT.split("\n")

    def ask(end: int) -> Completion:
        line = lines[60]
        context = CompletionContext("\n".join(lines[:60]) + "\n" + line[:end], line[end:], "\n".join(lines[61:90]))
        return writer.complete(layout, CompletionRequest("a", context, Sampling(8)), Budget((400,)))

    typed = [ask(end).candidates[0].text for end in range(8)]
    for end, text in enumerate(typed):
        writer.clear()
        assert ask(end).candidates[0].text == text


def test_two_long_answers_and_completions_between_them(model: Model) -> None:
    """A memory that cannot be cut holds nothing any more after an abort: the answers go on all the same."""
    alone = {}
    texts = {1: (TEXT[:300], 60, 1.0, 1), 2: (TEXT[900:1300], 60, 1.0, 2)}
    with contextlib.closing(Office(model)) as office:
        for id, text in texts.items():
            office.write(id, *text)
            alone[id] = office.until(id, Written).text
        for id, text in texts.items():
            office.write(10 + id, *text)
        written, asked = {}, 100
        while len(written) < 2:
            message, id = office.said.get(timeout=60)
            if isinstance(message, Piece) and asked < 112:
                asked += 1
                office.complete(asked, context_in(TEXT, 300 * (asked - 100)))
            elif isinstance(message, Written):
                written[id - 10] = message.text
            else:
                assert not isinstance(message, Refused), message
        assert asked == 112 and written == alone
        for _ in range(3):  # cancelled while the prompt is read
            office.write(50, TEXT[:2500], 100)
            office.scheduler.cancel(50)
        office.complete(60, context_in(TEXT, 700))
        assert office.completion(60).generated > 0

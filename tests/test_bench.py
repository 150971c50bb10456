"""The benchmark's own parts: models padded to a cost, scripts that write what they say, numbers, a peer's driver.

The measuring itself is not tested: nothing here is asserted about time.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).with_name("bench")))

import llama_vim
import measures
import scripts
import tabby_agent
from edits import Ask, Buffer, Clock, Delete, Insert, Move, Open, Script, carry_out
from measures import Answer, Key, Measured
from processes import cpu_seconds, process_tree, running_nanoseconds
from sides import Setting, SideError

from tabby_lsp.models import starter

pytest.importorskip("gguf")

import gguf
import numpy
import padding
import shapes
from shapes import STARCODER, Shape, ShapeError

LINUX = sys.platform == "linux"

# --- models


@pytest.fixture(scope="module")
def known() -> int:
    """Tokens of the starter's vocabulary."""
    return len(shapes.read_tokens(gguf.GGUFReader(starter.MODEL)).texts)


PROMPTS = (
    ("import os\n\n\ndef read_lines(path):\n    with open(path) as ", "\n\n\ndef main():\n    read_lines()\n"),
    ("class Counter:\n    def __init__(self", "\n        self.value = 0\n"),
    ("for i in range(", ""),
)


class Spoken:
    """What a model says after some prompts, by llama.cpp: its logits at each place of them and of an answer.

    The answers are its own, or another's. Where all of the likeliest tokens are those of an answer, so is its text.
    """

    def __init__(self, path: Path, other: Spoken | None = None) -> None:
        import llama_cpp
        import numpy as np

        llama = llama_cpp.Llama(
            str(path), n_ctx=128, n_batch=128, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
        )
        vocab = llama._model.vocab
        suffix_first, then, last = (
            find(vocab)
            for find in (
                llama_cpp.llama_vocab_fim_suf,
                llama_cpp.llama_vocab_fim_pre,
                llama_cpp.llama_vocab_fim_mid,
            )
        )
        self.answers, self.logits = [], []
        for number, (prefix, suffix) in enumerate(PROMPTS):
            before, after = (llama.tokenize(text.encode(), add_bos=False, special=False) for text in (prefix, suffix))
            prompt = [suffix_first, *after, then, *before, last]
            if other is None:
                written = llama.generate(prompt, temp=0.0, top_k=1)
                self.answers.append([next(written) for _ in range(16)])
            else:
                self.answers.append(other.answers[number])
            whole = prompt + self.answers[-1]
            llama.reset()
            llama.eval(whole)
            self.logits.append(np.array(llama.scores[: len(whole)], dtype=np.float32))
        llama.close()


def shape_beside(known: int, groups: int, head_width: int) -> Shape:
    """A small shape that the starter fits into, with so many kv heads more and heads so many times as wide."""
    old = padding.read_shape(gguf.GGUFReader(starter.MODEL))
    heads_kv = old.heads_kv + groups
    heads = heads_kv * (old.group + 1)
    width = heads * old.head_width * head_width
    return Shape(old.layers + 1, width, heads, heads_kv, old.feed_forward + 64, known + 40)


@pytest.fixture(scope="module")
def said() -> Spoken:
    return Spoken(starter.MODEL)


@pytest.mark.parametrize(
    ("groups", "head_width", "mean"),
    [
        (1, 1, 0.02),  # as the 0.5B beside the starter: larger groups, more kv heads
        (0, 2, 0.06),  # as the 1.5B: the square root of two is rounded in each block of the queries
    ],
)
def test_a_padded_model_says_what_the_small_one_says(
    tmp_path: Path, known: int, said: Spoken, groups: int, head_width: int, mean: float
) -> None:
    """The norms round in the last bit, and llama.cpp rounds what comes from them to 8 bits: an even choice may turn."""
    path = tmp_path / "padded.gguf"
    padding.write_padded(starter.MODEL, shape_beside(known, groups, head_width), path)
    clear_places = 0
    for ours, theirs in zip(Spoken(path, said).logits, said.logits, strict=True):
        assert ours[:, known:].max() < ours[:, :known].min() - 100, "an unused token must never win"
        difference = abs(ours[:, :known] - theirs)
        assert difference.max() < 0.6 and difference.mean() < mean
        second, first = numpy.partition(theirs, -2, axis=-1)[:, -2:].T
        clear = first - second > 2 * difference.max(-1)
        assert (ours.argmax(-1) == theirs.argmax(-1))[clear].all()
        clear_places += clear.sum()
    assert clear_places > 0.5 * sum(map(len, said.logits))


def test_a_padded_model_keeps_its_family_and_tokenizer(tmp_path: Path, known: int) -> None:
    path = tmp_path / "padded.gguf"
    padding.write_padded(starter.MODEL, shape_beside(known, 0, 1), path)
    old, new = gguf.GGUFReader(starter.MODEL), gguf.GGUFReader(path)
    for key, field in old.fields.items():
        if key.startswith("tokenizer.") and field.types[0] != gguf.GGUFValueType.ARRAY:
            assert new.fields[key].contents() == field.contents(), key
    assert new.fields["general.name"].contents() == "tabby-starter"
    texts = new.fields["tokenizer.ggml.tokens"].contents()
    assert texts[:known] == old.fields["tokenizer.ggml.tokens"].contents()
    assert new.fields["tokenizer.ggml.token_type"].contents()[known:] == [int(gguf.TokenType.UNUSED)] * 40
    assert {tensor.tensor_type for tensor in new.tensors} == {tensor.tensor_type for tensor in old.tensors}


def test_heads_stay_with_their_keys() -> None:
    places = padding.Padding(Shape(1, 256, 4, 2, 64, 10), Shape(1, 1536, 12, 2, 64, 10))
    assert [places.head(head) for head in range(4)] == [0, 1, 6, 7]  # two for each kv head, of its six
    assert places.stretch == 2
    rows = places.query_rows()
    assert rows[0] == 0 and rows[1] == 2 and rows[32] == 64 and rows[33] == 66  # of head 0: pairs i, i + 32
    assert rows[2 * 64] == 6 * 128  # head 2
    assert len(set(rows)) == 256
    assert places.attended_columns()[3 * 64] == 7 * 128
    assert places.value_rows()[64:66] == [128, 129]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Shape(6, 128, 2, 1, 512, 8192), "width"),
        (Shape(9, 2048, 16, 1, 8192, 49_152, 8192, STARCODER), "cannot be padded to one of starcoder"),
        (Shape(9, 768, 8, 1, 640, 8192), "do not divide"),
        (Shape(6, 512, 8, 1, 640, 9000), "further layer"),
    ],
)
def test_a_shape_that_cannot_be_padded_to_is_refused(tmp_path: Path, shape: Shape, reason: str) -> None:
    old = Shape(6, 192, 3, 1, 512, 8192)
    with pytest.raises(ShapeError, match=reason):
        padding.Padding(old, shape)


@pytest.mark.parametrize("architecture", [shapes.QWEN2, shapes.LLAMA, shapes.GEMMA3, STARCODER, shapes.MAMBA])
def test_random_models_write_tokens_without_text(tmp_path: Path, known: int, architecture: str) -> None:
    import llama_cpp

    path = tmp_path / "random.gguf"
    heads, kv_heads, inner = (0, 0, 0) if architecture == shapes.MAMBA else (2, 1, 256)
    shapes.write_random(Shape(2, 128, heads, kv_heads, inner, known + 2000, 512, architecture), path)
    llama = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, n_threads_batch=1, verbose=False)
    prompt = llama.tokenize(b"def f(x):\n    return ", add_bos=False, special=False)
    written = [token for token, _ in zip(llama.generate(prompt, temp=0.0, top_k=1), range(16), strict=False)]
    assert len(written) == 16 and llama.detokenize(written) == b""
    assert llama_cpp.llama_vocab_fim_mid(llama._model.vocab) < known
    llama.close()


# --- scripts


@pytest.mark.parametrize("limit", [20, 10**6])
@pytest.mark.parametrize("name", scripts.SCRIPTS)
def test_a_script_writes_its_target_and_knows_what_comes_next(name: str, limit: int) -> None:
    script = scripts.SCRIPTS[name](limit)
    buffers = {}
    for step, desk, _ in carry_out(script):
        buffers = desk.buffers
        if isinstance(step, Ask):
            line, column = desk.buffer.cursor
            before = "\n".join([*desk.buffer.lines[:line], desk.buffer.lines[line][:column]])
            assert script.target[desk.file].startswith(before + step.wanted), step
    assert {file: buffer.text for file, buffer in buffers.items()} == script.target
    assert 0 < script.asks
    clocks = [step for step in script.steps if isinstance(step, Ask | Clock)]
    assert isinstance(clocks[0], Clock), "what is asked is timed"


def test_few_keys_are_spread_over_all_scripts() -> None:
    few, all_keys = ([build(limit).asks for build in scripts.SCRIPTS.values()] for limit in (60, 10**6))
    assert sum(few) < 800 < 2000 < sum(all_keys)
    after = {step.after for build in scripts.SCRIPTS.values() for step in build(60).steps if isinstance(step, Ask)}
    assert after == {"key", "resume", *measures.EVENTS}


def typed(text: str, pairs: bool) -> tuple[list[str], Buffer]:
    """The line after each key."""
    pen = scripts.Pen(10**6)
    pen.do(Open("a.py", ""))
    pen.type(text, pairs=pairs)
    lines = []
    for step, desk, _ in carry_out(Script("", tuple(pen.steps), {})):
        if isinstance(step, Ask):
            lines.append(desk.buffer.line_prefix + "|" + desk.buffer.line_suffix)
    return lines, pen.desk.buffer


def test_pairs_are_closed_and_typed_over() -> None:
    lines, buffer = typed("f([1])", pairs=True)
    assert lines == ["f|", "f(|)", "f([|])", "f([1|])", "f([1]|)", "f([1])|"]
    assert typed("x('')", pairs=True)[0] == ["x|", "x(|)", "x('|')", "x(''|)", "x('')|"]
    assert typed("isn't", pairs=True)[0][-1] == "isn't|"
    assert typed('"""a(b"""', pairs=True)[1].text == '"""a(b"""'
    assert typed("a(\n  b)\n", pairs=True)[1].text == "a(\n  b)\n"
    assert buffer.text == "f([1])"


def test_a_line_end_brings_its_indentation() -> None:
    assert scripts.keys_of("a:\n    b\n\n\tc") == ["a", ":", "\n    ", "b", "\n", "\n\t", "c"]


def test_a_buffer_does_what_an_editor_does() -> None:
    buffer = Buffer.of("a.py", "one\ntwo\nthree")
    buffer.cursor = (1, 1)
    change = buffer.insert(Insert("x\ny()", back=1))
    assert (buffer.text, buffer.cursor) == ("one\ntx\ny()wo\nthree", (2, 2))
    assert (change.start, change.end, change.text) == ((1, 1), (1, 1), "x\ny()")
    change = buffer.delete(Delete((1, 1), (2, 3)))
    assert (buffer.text, buffer.cursor, change.end) == ("one\ntwo\nthree", (1, 1), (2, 3))


def test_a_jump_goes_to_another_document() -> None:
    script = Script("", (Open("a", "1"), Open("b", "2"), Move("a", (0, 1)), Insert("x")), {})
    *_, (_, desk, change) = carry_out(script)
    assert change is not None and change.file == "a"
    assert {file: buffer.text for file, buffer in desk.buffers.items()} == {"a": "1x", "b": "2"}


# --- numbers


@pytest.mark.parametrize(
    ("written", "wanted", "right"),
    [
        ("turn x", "turn x\n    y", True),
        ("turn x\n", "turn x", True),
        ("turn x + 1", "turn x", False),
        ("", "turn x", False),
        ("\n    y", "\n    y\n    z", True),
        ("\n\n    y", "\n    y", True),  # it is the next line that counts
        ("\n    z", "\n    y", False),
        ("  # why", "\n    y", False),
        ("\n    y", "x\n    y", False),
        ("", "\n", False),
    ],
)
def test_whether_the_first_line_is_right(written: str, wanted: str, right: bool) -> None:
    assert measures.first_line_right(written, wanted) is right


@pytest.mark.parametrize(
    ("written", "wanted", "characters"),
    [
        ("self.value", "self.value = 1", 10),
        ("self.val", "self.value", 8),  # right as far as it goes
        ("self.valid", "self.value", 5),  # the second word is another
        ("self.value()", "self.value_of", 5),
        ("x = 1\ny = 3", "x = 1\ny = 2", 10),
        ("other", "self", 0),
        ("    ", "    x", 0),  # blanks alone are no help
        ("", "x", 0),
    ],
)
def test_what_could_be_accepted(written: str, wanted: str, characters: int) -> None:
    assert measures.acceptable(written, wanted) == characters


def key(wanted: str, text: str, milliseconds: float = 10.0, from_model: bool = True, **rest: Any) -> Key:
    answer = {name: rest.pop(name) for name in ("replace", "evaluated", "generated", "prompt") if name in rest}
    whole = {"script": "s", "run": 1, "after": "key", "line_suffix": "", **rest}
    return Key(**whole, wanted=wanted, answer=Answer(text, milliseconds, from_model, **answer))


def summary(keys: Sequence[Key], cpu: float = 1.0, fixed: int = 0) -> dict[str, Any]:
    return measures.summary(Measured("side", tuple(keys), cpu, (5.0, 7.0), fixed))


def test_an_empty_answer_is_never_a_fast_one() -> None:
    keys = [key("x = 1", "x = 1", 300), key(" = 1", "", 0.1), key("= 1", "  \n", 0.1), key(" 1", " 1", 2, False)]
    found = summary(keys)
    assert found["by_model"] == {"count": 1, "median": 300, "p95": 300, "max": 300}
    assert found["without_model"]["median"] == 2
    assert found["not_shown"]["count"] == 2
    assert found["longest"] == 300
    assert found["first_line_right"] == 0.5
    assert found["first_line_right_of_shown"] == 1.0
    assert found["cpu_seconds_per_minute"] == pytest.approx(measures.KEYS_PER_MINUTE / 4)


def test_typing_and_what_is_first_after_something_are_apart() -> None:
    keys = [key("ab", "ab", 900, after="open"), key("b", "b", 10), key("c", "c", 50, after="resume", run=2)]
    found = summary(keys)
    assert found["by_model"]["max"] == 10 and found["longest"] == 900
    assert found["after"] == {"open": {"count": 1, "median": 900, "p95": 900, "max": 900}}


def test_what_is_fixed_counts_by_its_tokens() -> None:
    keys = [key("x", "", 30, generated=16, evaluated=2), key("x", "", 1, False), key("x", "y", 3, generated=7)]
    found = summary(keys, fixed=16)
    assert found["by_model"]["count"] == 1 and found["by_model"]["median"] == 30
    assert found["not_shown"]["count"] == 2
    assert found["evaluated_per_key"] == pytest.approx(2 / 3)
    assert "first_line_right" not in found


def test_text_right_of_the_cursor_is_part_of_what_is_written() -> None:
    assert key("a, b)", "a, b)", line_suffix=")", replace=1).right
    assert key("a, b)", "a, b", line_suffix=")").right
    assert not key("a, b)", "a, b)", line_suffix=")").right
    assert key("a, b)", "a, b", line_suffix=")").acceptable == 4  # the bracket was there


def test_keys_that_acceptance_saves() -> None:
    wanted = "value = 1"
    keys = [key(wanted[i:], wanted[i:] if i == 2 else "") for i in range(len(wanted))]
    assert measures.saved_keys(keys) == 5  # all behind the third but one, to accept
    assert measures.saved_keys([key(wanted[i:], "") for i in range(9)]) == 0
    runs = [key("abc"[i:], "abc"[i:], run=run) for run in (1, 2) for i in range(3)]
    assert measures.saved_keys(runs) == 2


def test_nothing_worth_asking_is_not_counted_against_a_side() -> None:
    assert summary([key("x", "x"), key("", ""), key("\n", "")])["first_line_right"] == 1.0
    assert summary([])["by_model"] is None


def test_the_table_has_a_column_for_each_side() -> None:
    results = {"one": summary([key("x", "x", 100)]), "another": summary([key("x", "x", 250), key("x", "")])}
    lines = measures.table(results).split("\n")
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["one", "another"]
    cells = {line[:40].strip(): line[40:].split() for line in lines}
    assert cells["median over the first side's"] == ["1.00", "2.50"]
    assert cells["keys with nothing shown: count"] == ["–", "1"]


# --- peers


def at(text: str) -> Buffer:
    """A buffer with the cursor at the bar."""
    above = text[: text.index("|")]
    buffer = Buffer.of("a.py", text.replace("|", "", 1))
    buffer.cursor = (above.count("\n"), len(above.rpartition("\n")[2]))
    return buffer


def test_what_llama_vim_sends() -> None:
    local = llama_vim.local_context(at("a\n    b|c)\nd\n"))
    assert (local.prefix, local.middle, local.suffix, local.indent) == ("a\n", "    b", "c)\nd\n\n", 4)
    blank = llama_vim.local_context(at("a\n    |\nd"))
    assert (blank.middle, blank.suffix, blank.indent) == ("", "\nd\n", 0)
    long = "\n".join(f"line {i}" for i in range(400)) + "\n|\n" + "\n".join(f"below {i}" for i in range(100))
    local = llama_vim.local_context(at(long))
    assert local.prefix.count("\n") == 256 and local.suffix.count("\n") == 65
    accepted = llama_vim.accepted_context(at("a\n  b|\nz"), "c\n  d", 2)
    assert (accepted.prefix, accepted.middle, accepted.suffix) == ("a\n  bc\n", "  d", "\nz\n")


@pytest.mark.parametrize(
    ("text", "content", "shown"),
    [
        ("a\nb|\nc\nd\n", "x\n\n", "x"),
        ("a\n|\nc\nd\n", "\nc\nd", ""),  # repeats what is below
        ("f(|)\n", ")", ""),  # repeats what is to the right
        ("x = |\nx = 1\n", "1", ""),  # repeats the next line
        ("x = |\ny = 1\n", "1", "1"),
        ("a\n    |\n", "    return", "return"),
        ("a|\n", " \n ", ""),
    ],
)
def test_what_llama_vim_shows(text: str, content: str, shown: str) -> None:
    assert llama_vim.shown_text(content, at(text)) == shown


def test_what_tabby_agent_sends_and_shows() -> None:
    lines = "\n".join(str(i) for i in range(60))
    prefix, suffix, reach = tabby_agent.agent_segments(at(lines.replace("30", "30(|)")))
    assert prefix.split("\n") == [str(i) for i in range(11, 30)] + ["30("]
    assert suffix.split("\n") == [""] + [str(i) for i in range(31, 50)]
    assert reach == 1
    assert tabby_agent.agent_segments(at("f(| + 1)"))[1:] == (" + 1)", 0)
    assert tabby_agent.agent_filtered("value + 1)\nmore", at("f(|value + 1)")) == ""
    assert tabby_agent.agent_filtered("return x\ny", at("    |")) == "return x\ny"
    assert tabby_agent.agent_filtered("rn xyz\ny", at("    retu|")) == "rn xyz"
    assert tabby_agent.agent_filtered("x)", at("f(|")) == ""


SERVER = """\
import http.server, json, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps(asked), file=log, flush=True)
        whole = "return value\\n    # end"
        typed = asked["prompt"].strip()
        text = whole[len(typed):] if whole.startswith(typed) else ""
        self.say({"content": text, "timings/prompt_n": 7, "timings/predicted_n": 3, "tokens_evaluated": 50})
    def say(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
log = open(__file__ + ".log", "w")
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """What answers as llama-server does."""
    program = tmp_path / "server.py"
    program.write_text(f"#!{sys.executable}\n{SERVER}")
    program.chmod(0o755)
    return program


def asked(server: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{server}.log").read_text().splitlines()]


@pytest.mark.skipif(not LINUX, reason="the fake server is started by its first line")
@pytest.mark.parametrize("quiet", [True, False])
def test_llama_vim_types_through_what_it_has_asked(server: Path, quiet: bool) -> None:
    setting = Setting(starter.MODEL, llama_server=server)
    with llama_vim.LlamaVim("llama.vim", setting, quiet=quiet) as side:
        buffer = at("def f(value):\n    |\n\nx = 1\n")
        side.open(buffer)
        first = side.ask(buffer, time.perf_counter())
        assert (first.text, first.from_model, first.evaluated, first.generated) == (
            "return value\n    # end",
            True,
            7,
            3,
        )
        assert first.prompt == 50
        buffer.insert(Insert("r"))
        second = side.ask(buffer, time.perf_counter())
        # On a line that is no longer blank the plugin sends other text: it cannot type through.
        assert (second.text, second.from_model) == ("eturn value\n    # end", True)
        buffer.insert(Insert("e"))
        third = side.ask(buffer, time.perf_counter())
        assert (third.text, third.from_model) == ("turn value\n    # end", False)
        buffer.insert(Insert("x"))
        assert side.ask(buffer, time.perf_counter()).text == ""
        far = at("f(|) + something + else\n")
        assert not side.ask(far, time.perf_counter()).from_model  # too much to the right of the cursor
    requests = asked(server)
    assert {request["n_predict"] for request in requests} == {128}
    assert {request["top_k"] for request in requests} == {1}
    assert len(requests) == 3 if quiet else len(requests) > 4
    in_advance = [request for request in requests if request["t_max_predict_ms"] == 1000]
    assert bool(in_advance) is not quiet


@pytest.mark.skipif(not LINUX, reason="the fake server is started by its first line")
def test_the_mechanism_asks_for_the_same_tokens_each_time(server: Path) -> None:
    setting = Setting(starter.MODEL, fixed_tokens=16, llama_server=server)
    with llama_vim.LlamaVim("llama.vim", setting) as side:
        buffer = at("def f(value):\n    r|\n")
        for _ in range(2):
            assert side.ask(buffer, time.perf_counter()).from_model
        assert process_tree(side.process) == [side.process]
        assert cpu_seconds(side.process) > 0 < running_nanoseconds(side.process)
    assert [(each["n_predict"], each["ignore_eos"], each["n_indent"]) for each in asked(server)] == [(16, True, 0)] * 2


def test_a_peer_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(SideError, match="--llama-server"):
        llama_vim.LlamaVim("llama.vim", Setting(starter.MODEL)).__enter__()


def test_the_ring_takes_what_is_new_and_drops_what_is_near() -> None:
    ring = llama_vim.Ring(random.Random(0))
    chunk = [f"line {i}" for i in range(20)]
    ring.pick(chunk, evict=True)
    ring.pick(chunk, evict=True)
    ring.pick(["too", "short"], evict=True)
    assert ring.queued == [chunk] and not ring.extra()
    assert ring.update() and not ring.update()
    assert ring.extra() == [{"text": "\n".join(chunk) + "\n", "filename": "chunk.py"}]
    ring.make_room(["other"] * 40)
    assert ring.chunks
    ring.make_room(chunk)
    assert not ring.chunks

"""Frames out of a stream of bytes, whole or broken."""

from __future__ import annotations

import logging
import os

import pytest

from tabby_lsp.lsp.frames import FrameReader
from tabby_lsp.processes.streams import Writer


def frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def test_frames_in_pieces_of_any_size() -> None:
    bodies = [b'{"a":1}', b"", "{é}".encode(), b"x" * 5000]
    stream = b"".join(map(frame, bodies))
    for size in (1, 2, 3, 7, 100, len(stream)):
        reader = FrameReader()
        found = []
        for start in range(0, len(stream), size):
            found += list(reader.feed(stream[start : start + size]))
        assert found == bodies


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: 2\r\n\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\n",
        b"Content-Length:2\r\nContent-Type: x\r\n\r\n",
        b"Content-Length: 2\n\n",
    ],
)
def test_other_forms_of_the_header(header: bytes) -> None:
    assert list(FrameReader().feed(header + b"{}")) == [b"{}"]


@pytest.mark.parametrize(
    "garbage",
    [b"hello\r\n", b"\x00\xff" * 3000, b"Content-Length: many\r\n\r\n", b"Content-Length: 999999999999\r\n\r\n"],
)
def test_what_is_no_frame_is_skipped_with_a_line_in_the_log(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(FrameReader().feed(garbage + frame(b"{}"))) == [b"{}"]
    assert caplog.records


def test_a_length_that_is_too_small_costs_one_message() -> None:
    assert list(FrameReader().feed(b'Content-Length: 3\r\n\r\n{"id":1}' + frame(b"{}"))) == [b'{"i', b"{}"]


def test_a_length_that_is_too_large_costs_the_messages_it_swallows_and_no_others() -> None:
    good = frame(b'{"good":1}')
    for too_large in (3, 5, 20, 30):
        reader = FrameReader()
        swallowing, *others = reader.feed(b"Content-Length: %d\r\n\r\n{}" % too_large + good + good)
        assert swallowing.startswith(b"{}C"), "the broken message, with the head of the next"
        assert others[-1:] == [b'{"good":1}']


def test_what_is_written_arrives_in_order_and_a_closed_reader_is_no_error() -> None:
    read_end, write_end = os.pipe()
    writer = Writer(write_end)
    for i in range(100):
        writer.write(b"%d," % i)
    writer.close()
    assert os.read(read_end, 10_000) == b"".join(b"%d," % i for i in range(100))
    os.close(read_end)
    late = Writer(write_end)
    late.write(b"x")
    late.close()
    os.close(write_end)

"""The vocabulary of a loaded model: text to tokens and back (the `Vocabulary` of `completion.layout`)."""

from __future__ import annotations

import bisect
import ctypes
import re

import llama_cpp
import numpy as np
import numpy.typing as npt

_LIKE_A_CONTROL = re.compile(r"▁?(<.+>|\[.+\])", re.DOTALL)


class Vocab:
    """`name` is all that is known of the model's names, in one text: families are recognised by it."""

    def __init__(self, handle: llama_cpp.llama_vocab_p, name: str, architecture: str) -> None:
        self._handle = handle
        self.name = name
        self.architecture = architecture
        self.size = llama_cpp.llama_vocab_n_tokens(handle)
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(handle))
        bos = llama_cpp.llama_vocab_bos(handle)
        self.bos: int | None = bos if bos >= 0 else None
        eos = llama_cpp.llama_vocab_eos(handle)
        self.eos: int | None = eos if eos >= 0 else None
        self._piece_buffer = ctypes.create_string_buffer(1024)
        self._by_text = {self._text(token): token for token in range(self.size)}
        self._controls = self._find_controls()
        self._sorted = self._sort()  # now, not at the first key: a fifth of a second for 150,000 tokens

    def token(self, text: str) -> int | None:
        return self._by_text.get(text)

    def controls(self) -> dict[str, int]:
        """Control tokens, and "user defined" ones that look like them. The others of these are runs of blanks."""
        return self._controls

    def fim(self) -> dict[str, str]:
        said = {
            "PRE": llama_cpp.llama_vocab_fim_pre(self._handle),
            "SUF": llama_cpp.llama_vocab_fim_suf(self._handle),
            "MID": llama_cpp.llama_vocab_fim_mid(self._handle),
        }
        return {role: self._text(token) for role, token in said.items() if token >= 0}

    def _find_controls(self) -> dict[str, int]:
        found = {}
        for text, token in self._by_text.items():
            attributes = llama_cpp.llama_vocab_get_attr(self._handle, token)
            if attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL or (
                attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED and _LIKE_A_CONTROL.fullmatch(text)
            ):
                found[text] = token
        return found

    def text(self, token: int | None) -> str:
        """The name of a token, by which a chat template means it."""
        return "" if token is None else self._text(token)

    def _text(self, token: int) -> str:
        return (llama_cpp.llama_vocab_get_text(self._handle, token) or b"").decode("utf-8", "replace")

    def tokenize(self, text: str, controls: bool = False) -> list[int]:
        """`controls`: whether the texts of control tokens are these tokens."""
        data = text.encode("utf-8", "replace")  # a lone surrogate becomes "?": it has no UTF-8 form
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._handle, data, len(data), buffer, room, False, controls)
        if count < 0:
            room = -count
            buffer = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._handle, data, len(data), buffer, room, False, controls)
        return buffer[:count]

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._handle, token))

    def piece(self, token: int) -> bytes:
        """The bytes of a token; a character may be spread over several. Control tokens have none."""
        size = llama_cpp.llama_token_to_piece(self._handle, token, self._piece_buffer, 1024, 0, False)
        if size < 0:
            self._piece_buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(self._handle, token, self._piece_buffer, -size, 0, False)
        return self._piece_buffer.raw[:size]

    def agreeing(self, text: bytes) -> npt.NDArray[np.int64]:
        """The tokens that can begin to write a text: those that begin with it and those that it begins with.

        No control token is among them.
        """
        pieces, tokens = self._sorted
        # Sorted by bytes: what begins with the text is one run, and each of its own beginnings is another.
        last = text + b"\xff" * 256
        runs = [(bisect.bisect_left(pieces, text), bisect.bisect_right(pieces, last))]
        for length in range(1, len(text)):
            runs.append((bisect.bisect_left(pieces, text[:length]), bisect.bisect_right(pieces, text[:length])))
        return np.concatenate([tokens[begin:end] for begin, end in runs])

    def _sort(self) -> tuple[list[bytes], npt.NDArray[np.int64]]:
        pieces = [self.piece(token) for token in range(self.size)]
        controls = frozenset(self.controls().values())
        plain = (token for token in range(self.size) if pieces[token] and token not in controls)
        order = sorted(plain, key=pieces.__getitem__)
        return [pieces[token] for token in order], np.array(order, dtype=np.int64)

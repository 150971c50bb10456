"""The vocabulary of a loaded model: text to tokens and back (the `Vocabulary` of `completion.layout`)."""

from __future__ import annotations

import ctypes
import re

import llama_cpp

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
        self._piece_buffer = ctypes.create_string_buffer(1024)
        self._by_text = {self._text(token): token for token in range(self.size)}

    def token(self, text: str) -> int | None:
        return self._by_text.get(text)

    def controls(self) -> dict[str, int]:
        """Control tokens, and "user defined" ones that look like them. The others of these are runs of blanks."""
        found = {}
        for text, token in self._by_text.items():
            attributes = llama_cpp.llama_vocab_get_attr(self._handle, token)
            if attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL or (
                attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED and _LIKE_A_CONTROL.fullmatch(text)
            ):
                found[text] = token
        return found

    def _text(self, token: int) -> str:
        return (llama_cpp.llama_vocab_get_text(self._handle, token) or b"").decode("utf-8", "replace")

    def tokenize(self, text: str) -> list[int]:
        data = text.encode("utf-8", "replace")  # a lone surrogate becomes "?": it has no UTF-8 form
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._handle, data, len(data), buffer, room, False, False)
        if count < 0:
            room = -count
            buffer = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._handle, data, len(data), buffer, room, False, False)
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

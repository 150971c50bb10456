"""The simplest pipeline, in a process of its own: a plain `llama_cpp.Llama` that is given a whole prompt each time.

    python tests/bench/whole_prompt.py MODEL      JSON lines on stdin and stdout; the first one out says "ready"

In: {"prefix", "suffix", "suffix_first", "max_tokens", "stop": [...], "ignore_end"}.
Out: {"text", "prompt", "evaluated", "generated"}.
The library's own reuse of a common prefix is in it. `Llama.create_completion(suffix=…)` is not: it builds its prompt
with made-up control tokens (llama.py of 0.3.36, line 1232).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import llama_cpp

CONTEXT = 4096  # Tabby's context_size


class Model:
    def __init__(self, path: str) -> None:
        self.llama = llama_cpp.Llama(path, n_ctx=CONTEXT, verbose=False)
        vocab = self.llama._model.vocab
        self.prefix = llama_cpp.llama_vocab_fim_pre(vocab)
        self.suffix = llama_cpp.llama_vocab_fim_suf(vocab)
        self.middle = llama_cpp.llama_vocab_fim_mid(vocab)
        self.is_end = lambda token: llama_cpp.llama_vocab_is_eog(vocab, token)

    def tokens(self, text: str) -> list[int]:
        return list(self.llama.tokenize(text.encode("utf-8"), add_bos=False, special=False))

    def complete(self, request: dict[str, Any]) -> dict[str, Any]:
        before, after = self.tokens(request["prefix"]), self.tokens(request["suffix"])
        halves = [[self.prefix, *before], [self.suffix, *after]]
        first, second = reversed(halves) if request["suffix_first"] else halves
        prompt = [*first, *second, self.middle]
        known = self.llama._input_ids.tolist()
        shared = next((i for i, (a, b) in enumerate(zip(known, prompt, strict=False)) if a != b), len(known))
        written: list[int] = []
        text = ""
        for token in self.llama.generate(prompt, temp=0.0, top_k=1):
            written.append(token)
            if self.is_end(token) and not request["ignore_end"]:
                break
            text = self.llama.detokenize(written).decode("utf-8", "ignore")
            places = [place for place in map(text.find, request["stop"]) if place >= 0]
            if places:
                text = text[: min(places)]
                break
            if len(written) >= request["max_tokens"]:
                break
        evaluated = len(prompt) - min(shared, len(prompt) - 1)
        return {"text": text, "prompt": len(prompt), "evaluated": evaluated, "generated": len(written)}


def main() -> None:
    model = Model(sys.argv[1])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(model.complete(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

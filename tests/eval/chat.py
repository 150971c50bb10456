"""Whether the right excerpts stand in the prompt of a question about a repository; with a model, what it makes of them.

    python tests/eval/chat.py [--model GGUF] [--limit N] [--misses]

The questions are those of chat.toml, about this package. An excerpt is right if its lines and those of a wanted
definition have one in common. Counted are the questions with a right excerpt among the first so many that are found,
and in the prompt, for a machine that reads all that there is room for and for one that reads the least that is given;
with the bounds of a bootstrap over the questions (95 %).

Given a model, each question is asked, too: how many answers cite a right excerpt, and how many cite one at all.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fetch_trees import HERE, tomllib
from search import Tree, index_tree, tree_of

import tabby_lsp
from tabby_lsp.assistant import Assistant, Request
from tabby_lsp.chat.conversation import Capacity, ChatError, Excerpt, Message, Parameters, prompt, texts_to_count
from tabby_lsp.chat.sources import MOST_FOUND, Sources, material
from tabby_lsp.chat.template import USER
from tabby_lsp.engines import CHAT, Engines
from tabby_lsp.evaluation.measures import mean
from tabby_lsp.index.map import CHARACTERS_A_TOKEN
from tabby_lsp.index.plan import Plan
from tabby_lsp.settings import Settings

CONTEXT = 4096  # the default of model.chat.local.context_size
FOUND = (1, 2, 4, 8, 16, 24)
# What one asks next, and what is to be there for it: the same as for the question before.
FOLLOW_UPS = ("and how does that work?", "can you explain it in more detail?", "what can go wrong there?", "why?")
FAST, SLOW = 1e6, 1.0  # tokens read in a second


@dataclass(frozen=True)
class Asked:
    ask: str
    wanted: tuple[tuple[str, int, int], ...]  # files and their lines

    def is_right(self, excerpt: Excerpt) -> bool:
        return any(
            excerpt.path == path and excerpt.first <= last and first <= excerpt.last
            for path, first, last in self.wanted
        )


def questions(tree: Tree) -> Iterator[Asked]:
    rows = tomllib.loads((HERE / "chat.toml").read_text(encoding="utf-8"))["questions"]
    for row in rows:
        wanted = tuple(place for want in row["want"] for place in tree.places(want))
        if wanted:
            yield Asked(row["ask"], wanted)
        else:
            print(f"left out, since nothing has these names any more: {row['ask']} {row['want']}", file=sys.stderr)


def in_prompt(sources: Sources, asked: Asked, rate: float, before: str = "") -> tuple[bool, int]:
    """Whether a right excerpt is in the prompt, and about how many tokens the excerpts are."""
    messages = [Message(USER, asked.ask)]
    there = material(sources, asked.ask, before=before)
    counts = [int(len(each) / CHARACTERS_A_TOKEN) for each in texts_to_count(messages, there)]
    made = prompt(messages, there, counts, Capacity(CONTEXT, rate))
    size = sum(int(len(each.shown()) / CHARACTERS_A_TOKEN) for each in made.excerpts)
    return any(map(asked.is_right, made.excerpts)), size


def percent(hits: Sequence[bool]) -> str:
    share = mean([100.0 * each for each in hits])
    return f"{share.value:.0f} % ({share.low:.0f}–{share.high:.0f})" if share else "-"


def without_model(sources: Sources, all_asked: Sequence[Asked], misses: bool) -> None:
    found = [material(sources, each.ask, most=max(FOUND)).excerpts for each in all_asked]
    for most in FOUND:
        hits = [any(map(each.is_right, excerpts[:most])) for each, excerpts in zip(all_asked, found, strict=True)]
        mark = "  (this many are asked for)" if most == MOST_FOUND else ""
        print(f"right among the first {most:>2}: {percent(hits)}{mark}")
    for name, rate in (("fast", FAST), ("slow", SLOW)):
        made = [in_prompt(sources, each, rate) for each in all_asked]
        size = sum(size for _, size in made) / len(made)
        print(
            f"right in the prompt, {name} machine: {percent([hit for hit, _ in made])}, {size:.0f} tokens of excerpts"
        )
        for each, (hit, _) in zip(all_asked, made, strict=True):
            if misses and not hit:
                print(f"    {each.ask}")
    follow_ups = [
        (replace(each, ask=FOLLOW_UPS[number % len(FOLLOW_UPS)]), each.ask) for number, each in enumerate(all_asked)
    ]
    for name, known in (("with the question before", True), ("alone", False)):
        hits = [in_prompt(sources, each, FAST, before if known else "")[0] for each, before in follow_ups]
        print(f"right in the prompt of the next question, searched for {name}: {percent(hits)}")


async def with_model(sources: Sources, all_asked: Sequence[Asked], model: str) -> None:
    settings = Settings()
    local = replace(settings.model.chat.local, model_id=model)
    settings = replace(settings, model=replace(settings.model, chat=replace(settings.model.chat, local=local)))
    engines = Engines()
    right, cited = [], []
    try:
        await engines.restart(settings, (CHAT,))
        assistant = Assistant(engines, lambda: settings, lambda: sources)
        for each in all_asked:
            request = Request((Message(USER, each.ask),), parameters=Parameters(max_tokens=200, temperature=0.0))
            try:
                reply = await assistant.answer(request)
            except ChatError as error:
                raise SystemExit(str(error)) from None
            right.append(any(map(each.is_right, reply.citations)))
            cited.append(bool(reply.citations))
            print(f"{'right' if right[-1] else 'cited' if cited[-1] else '-':<6} {each.ask}", file=sys.stderr)
    finally:
        await engines.close()
    print(f"answers that cite a right excerpt: {percent(right)}; that cite any: {percent(cited)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", metavar="GGUF", help="a model to be asked, too: a file or a name")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="the first questions only")
    parser.add_argument("--misses", action="store_true", help="name the questions without a right excerpt")
    options = parser.parse_args()
    tree = tree_of(Path(tabby_lsp.__file__).parent, ("/models/training/",))
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "index.sqlite")
        index_tree(tree, database).close()
        sources = Sources(Plan(str(database), (str(tree.root),)))
        all_asked = list(questions(tree))[: options.limit]
        print(f"{len(all_asked)} questions about {len(tree.texts)} files")
        without_model(sources, all_asked, options.misses)
        if options.model:
            asyncio.run(with_model(sources, all_asked, options.model))


if __name__ == "__main__":
    main()

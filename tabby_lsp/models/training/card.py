"""The model card: what the other stages left in the work folder, as one page beside the shipped model.

Every figure is read from those files; nothing is typed in. Names no machine, path or package host.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from tabby_lsp.models.training.evaluate import (
    CHARS_AFTER,
    CHARS_BEFORE,
    CHUNK_LINES,
    CHUNKS,
    LONG_WINDOW_TOKENS,
    LONG_WINDOWS,
    MOST_TOKENS,
    PROMPTS,
    SEED,
    TEXT_WINDOWS,
    WINDOW_TOKENS,
    Completion,
)
from tabby_lsp.models.training.export import NAME, shipped_file
from tabby_lsp.models.training.ngrams import ORDER
from tabby_lsp.models.training.samples import CHAT_SHARE, PLAIN_SHARE, SUFFIX_FIRST_SHARE, Hole
from tabby_lsp.models.training.train import MACHINES

SHIPPED = Path(__file__).parents[1] / "starter"
SHOWN = 10

INTRODUCTION = """# tabby-starter

A very small fill-in-the-middle model for Python, trained from scratch by this project so that a first
completion needs no download and the tests can run a real model. **It is a starter**: it knows the commonest
shapes of Python and is seldom exactly right (see the figures); it does not know what your program does. For
real work choose a larger model.

File: `{file}`, {megabytes:.1f} MB, {kind}, architecture `qwen2`, licence of the weights Apache-2.0.
"""
LIMITS = """## What it cannot do

- It does not reason, and it invents names; one that stands near the cursor is still often missed.
- Prompt it suffix first; the table says what is lost prefix first.
- Python only. Comments and docstrings come out as plausible English, not as facts.
- {chat:.0%} of its samples were questions and answers in ChatML (write, document or explain a function), so it has
  a chat template and answers in that form; do not expect the answers to be right.
- A completion longer than a line loses the thread; decoded greedily it may repeat itself.
- It may repeat passages of its training data, which is the packages listed below under their licences.
- The context is {context:,} tokens, but most of the training saw {short:,} at a time (see below).
"""
TRIED = Path(__file__).with_name("tried.md")  # what was tried and lost, with its figures, kept by hand


def shipped_model(folder: Path = SHIPPED) -> Path | None:
    return next(iter(sorted(folder.glob(f"{NAME}-*.gguf"))), None)


def draw_losses(history: list[dict[str, Any]], target: Path) -> None:
    """The curve over all sittings, each of which began where the one before it had not yet lowered its rates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.2))
    labels = {
        "loss": ("all tokens", "C0-"),
        "middle": ("middles and their end tokens", "C1-"),
        "held_out": ("held out, all tokens", "C2--"),
        "held_out_middle": ("held out, middles", "C3--"),
    }
    for number, sitting in enumerate(history):
        for key, (label, form) in labels.items():
            points = [point for point in sitting.get("curve", []) if key in point]
            known = None if any(sitting.get("curve") for sitting in history[:number]) else label
            at = [point["tokens"] / 1e6 for point in points]
            axes.plot(at, [point[key] for point in points], form, label=known, linewidth=1.2)
    axes.set(xlabel="million tokens, those of earlier sittings included", ylabel="loss, nats per token")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    pyplot.close(figure)


def data_table(counts: dict[str, dict[str, Any]]) -> str:
    rows = ["| package | version | licence | split | files | characters |", "|---|---|---|---|---:|---:|"]
    for name, read in counts.items():
        about = " | ".join(read[key] for key in ("version", "licence", "split"))
        rows.append(f"| {name} | {about} | {read['files']:,} | {read['chars']:,} |")
    return "\n".join(rows)


def training_section(machine: str, history: list[dict[str, Any]]) -> str:
    config, plan = MACHINES[machine].config, MACHINES[machine].plan
    size = sum(prod(shape) for shape in config.shapes().values())
    body = size - config.vocabulary * config.width
    spent = [
        f"| {sitting['machine']} | {sitting['flop'] / sitting['tokens'] / 6e6:.2f} | {sitting['minutes']:.1f} "
        f"| {sitting['step']:,} | {sitting['tokens'] / 1e6:.1f} M | {sitting['flop']:.1e} |"
        for sitting in history
    ]
    return f"""## Configuration and compute

{config.layers} layers, width {config.width}, {config.heads} heads, {config.kv_heads} key-value head,
feed-forward {config.hidden}, vocabulary {config.vocabulary:,} (byte-level BPE), output tied to the embedding:
{size / 1e6:.2f} M parameters, {body / 1e6:.2f} M without the embedding. Muon ({plan.muon_rate}) for the
matrices, AdamW ({plan.adam_rate}) for the rest, bf16, {plan.batch_tokens:,} tokens a step, on rows of
{plan.short_length:,} tokens. The rates are constant after a warm-up; over the last {plan.decay_share:.0%} of each
sitting they go linearly to zero, on rows of {config.context:,}. The next sitting goes on from before that, or, on
another machine, from the finished weights with the rates raised again; a smaller model is grown into a larger one
that computes the same. Every token counts alike in the loss. Of the samples {SUFFIX_FIRST_SHARE:.0%} are suffix
first, {max(0.0, 1 - SUFFIX_FIRST_SHARE - PLAIN_SHARE - CHAT_SHARE):.0%} prefix first, {PLAIN_SHARE:.0%} plain text,
{CHAT_SHARE:.0%} ChatML.

| sitting on | million parameters | minutes | steps | tokens | FLOP |
|---|---:|---:|---:|---:|---:|
{_lines(spent)}

Minutes are of one core's time since the third sitting, of the clock before. The figures above are of the weights
that the last sitting ended with.

![loss](loss.png)

To train on (from the checkpoint of the work folder, else from the last weights kept; with the extra `train`), and
then to measure and ship what came of it:

    python -m tabby_lsp.models.training --work DIR --until 18:20
    python -m tabby_lsp.models.training --work DIR --stage evaluate
    python -m tabby_lsp.models.training --work DIR --stage card
"""


def figures_section(figures: dict[str, Any], compared: list[dict[str, Any]]) -> str:
    model, ngrams, replaced = figures["model"], figures["ngrams"], figures.get("replaced", {})
    sides = {"**this model**": model, "F16, before quantising": figures["f16"]}
    sides |= {"the model it replaced": replaced} if replaced else {}
    sides |= {f"{ORDER}-gram": ngrams}
    packages = list(model["bits_per_char_by_package"])
    text = [f"| | {WINDOW_TOKENS} tokens | " + " | ".join(packages) + f" | {LONG_WINDOW_TOKENS:,} tokens |"]
    text.append("|---|" + "---:|" * (len(packages) + 2))
    for name, side in sides.items():
        each = " | ".join(f"{side['bits_per_char_by_package'][package]:.3f}" for package in packages)
        long = f"{side['bits_per_char_long']:.3f}" if "bits_per_char_long" in side else ""
        text.append(f"| {name} | {side['bits_per_char']:.3f} | {each} | {long} |")
    keys = ("exact_match", "exact_match_in_code", "edit_similarity", "empty", "ended", "ended_on_the_line")
    rows = [(f"**{name}**", model[name]) for name in PROMPTS]
    rows += [(f"the model it replaced, {name}", replaced[name]) for name in PROMPTS if name in replaced]
    rows += [(f"{ORDER}-gram, prefix only", ngrams["prefix only"])]
    table = ["| | exact match | in code | edit similarity | empty | ended within the budget | ended on the line |"]
    table.append("|---|---:|---:|---:|---:|---:|---:|")
    table += [f"| {name} | " + " | ".join(f"{row[key]:.1%}" for key in keys) + " |" for name, row in rows]
    logits = [
        f"- {one['kind']}: largest difference {one['largest']:.4f}, mean {one['mean']:.5f}, "
        f"same best token {one['same_best']:.1%}"
        for one in compared
    ]
    return f"""## Figures on the held-out packages

Measured with the shipped file through llama.cpp. The yardstick is a token {ORDER}-gram with back-off (Witten-Bell)
counted over the same training text.

**Bits per character**, left to right in {TEXT_WINDOWS} windows of {WINDOW_TOKENS} tokens from each package and in
{LONG_WINDOWS} of {LONG_WINDOW_TOKENS:,}; the packages count alike:

{_lines(text)}

**The rest of the line**, {figures["holes"]} holes chosen by seed {SEED}, equally many from each package,
of which {figures["holes_in_code"]} are in code and the others in comments and docstrings; greedy, at most
{MOST_TOKENS} tokens, up to {CHARS_BEFORE:,} characters before and {CHARS_AFTER:,} after; related files are
{CHUNKS} pieces of {CHUNK_LINES} lines from other files of the package, those that share most identifiers with the
lines around the cursor. Exact match, edit similarity and empty are of the first line; the last column is the
share that gave the end token before any newline, as it should, empty ones included.

{_lines(table)}

Logits against the trainer (fp32) on a fixed prompt of this project:

{_lines(logits)}
"""


def show_completion(held: dict[str, Any]) -> str:
    """The last lines before the cursor, the first after it, and what was wanted and given."""
    hole = Hole(**held["hole"])
    before = "\n".join(hole.prefix.split("\n")[-4:])
    after = "\n".join(hole.suffix.split("\n")[:3])
    code = "\n".join("    " + line for line in f"{before}⟨?⟩{after}".split("\n"))
    given = [("wanted", hole.middle.rstrip()), *((name, Completion(**held[name]).line) for name in PROMPTS)]
    width = max(len(name) for name, _ in given) + 2
    answers = _lines(f"    {name + ':':<{width}}{text!r}" for name, text in given)
    return f"{held['path']}\n\n{code}\n    ────\n{answers}\n"


def completions_section(work: Path) -> str:
    held = json.loads((work / "completions.json").read_text())
    chosen = sorted(random.Random(SEED).sample(range(len(held)), SHOWN))
    shown = [f"**{n}.** {show_completion(held[at])}" for n, at in enumerate(chosen, 1)]
    title = f"## {SHOWN} completions, drawn from those holes by the seed and not by taste\n"
    return "\n".join([title, "First lines only; `⟨?⟩` is the cursor.\n", *shown])


def write_card(work: Path, machine: str, target: Path = SHIPPED) -> None:
    exported = shipped_file(work)
    if replaced := shipped_model(target):
        replaced.unlink()
    model = target / exported.name
    shutil.copyfile(exported, model)
    report = json.loads((work / "corpus" / "report.json").read_text())
    figures = json.loads((work / "figures.json").read_text())
    compared = json.loads((work / "comparison.json").read_text())
    history = json.loads((work / "history.json").read_text())
    draw_losses(history, target / "loss.png")
    held_out = ", ".join(name for name, row in report["packages"].items() if row["split"] == "held-out")
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in report["skipped"].items())
    refused = "; ".join(report["refused"]) or "none"
    data = f"""## Data

Only PSF, MIT, BSD and Apache-2.0 sources; the build compares each licence with the package's metadata. Held
out whole and never trained on: **{held_out}**. Files skipped: {skipped}. Packages refused: {refused}.

{data_table(report["packages"])}
"""
    config, plan = MACHINES[machine].config, MACHINES[machine].plan
    kind = model.stem.removeprefix(f"{NAME}-").upper()
    sections = [
        INTRODUCTION.format(file=model.name, megabytes=model.stat().st_size / 1e6, kind=kind),
        figures_section(figures, compared),
        LIMITS.format(context=config.context, short=plan.short_length, chat=CHAT_SHARE),
        training_section(machine, history),
        *([TRIED.read_text(encoding="utf-8")] if TRIED.exists() else []),
        completions_section(work),
        data,
    ]
    (target / "MODEL_CARD.md").write_text("\n".join(sections), encoding="utf-8")


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)  # an f-string may not hold a backslash before Python 3.12

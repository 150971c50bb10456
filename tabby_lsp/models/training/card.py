"""The model card: what the other stages left in the work folder, as one page beside the shipped model.

Every figure is read from those files; nothing is typed in. Names no machine, path or package host.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tabby_lsp.models.training.corpus import Package, read_manifest
from tabby_lsp.models.training.evaluate import (
    CHARS_AFTER,
    CHARS_BEFORE,
    MOST_TOKENS,
    ORDERS,
    SEED,
    TEXT_WINDOWS,
    WINDOW_TOKENS,
    Completion,
)
from tabby_lsp.models.training.export import NAME
from tabby_lsp.models.training.model import Config
from tabby_lsp.models.training.samples import CONTEXT_WEIGHT, Hole
from tabby_lsp.models.training.train import Plan

SHIPPED = Path(__file__).parents[1] / "starter"
SHOWN = 10
SMOOTHED = 40  # steps that make one point of the curve

INTRODUCTION = """# tabby-starter

A very small fill-in-the-middle model for Python, trained from scratch by this project so that a first
completion needs no download and the tests can run a real model. **It is a starter**: it knows the commonest
shapes of Python and is seldom exactly right (see the figures); it does not know what your program does. For
real work choose a larger model.

File: `{file}`, {megabytes:.1f} MB, Q8_0, architecture `qwen2`, licence of the weights Apache-2.0.
"""
LIMITS = """## What it cannot do

- It does not reason, and it invents names; even one that stands near the cursor is often missed.
- Prompt it suffix first: prefix first it mostly has not learned to go on from the cursor.
- Python only. Comments and docstrings come out as plausible English, not as facts.
- It was not trained on instructions: it has no chat template and cannot chat, explain or edit.
- A completion longer than a line loses the thread; decoded greedily it may repeat itself.
- It may repeat passages of its training data, which is the packages listed below under their licences.
- The context is {context:,} tokens, but most of the training saw {short} at a time (see below).
"""


def read_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def draw_losses(rows: list[dict[str, Any]], target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.2))
    chunks = [rows[begin:end] for begin, end in pairwise([*range(0, len(rows), SMOOTHED), len(rows)])]
    tokens = [chunk[-1]["tokens"] / 1e6 for chunk in chunks]
    for key, label in (("loss", "all tokens"), ("middle", "middles and their end tokens")):
        axes.plot(tokens, [sum(row[key] for row in chunk) / len(chunk) for chunk in chunks], label=label)
    long = next((row["tokens"] / 1e6 for row in rows if row["length"] > rows[0]["length"]), None)
    if long is not None:
        axes.axvline(long, color="grey", linewidth=0.8, linestyle=":", label="rows of 2,048 tokens from here")
    axes.set(xlabel="million tokens", ylabel="training loss, nats per token")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    pyplot.close(figure)


def data_table(packages: list[Package], counts: dict[str, dict[str, Any]]) -> str:
    rows = ["| package | version | licence | split | files | characters |", "|---|---|---|---|---:|---:|"]
    for package in packages:
        read = counts.get(package.name, {"version": package.version, "files": 0, "chars": 0})
        rows.append(
            f"| {package.name} | {read['version']} | {package.licence} | {package.split} "
            f"| {read['files']:,} | {read['chars']:,} |"
        )
    return "\n".join(rows)


def training_section(rows: list[dict[str, Any]], minutes: float) -> str:
    config, plan, last = Config(), Plan(), rows[-1]
    size = sum(_product(shape) for shape in config.shapes().values())
    body = size - config.vocabulary * config.width
    tail = rows[-100:]
    long_steps = sum(row["length"] == config.context for row in rows)
    long_tokens = long_steps * plan.batch_tokens
    return f"""## Configuration and compute

{config.layers} layers, width {config.width}, {config.heads} heads, {config.kv_heads} key-value head,
feed-forward {config.hidden}, vocabulary {config.vocabulary:,} (byte-level BPE), output tied to the embedding:
{size / 1e6:.2f} M parameters, {body / 1e6:.2f} M without the embedding. Muon ({plan.muon_rate}) for the
matrices, AdamW ({plan.adam_rate}) for the rest, bf16, {plan.batch_tokens:,} tokens a step, rates constant and
then linear to zero over the last {plan.decay_share:.0%} of the time, rows of {plan.short_length} tokens and
of {config.context:,} in the last {plan.long_share:.0%} of the time. Context tokens count {CONTEXT_WEIGHT} in
the loss, middles and their end tokens 1.

Spent: **{last["minutes"]:.1f} minutes on 2 CPU cores** shared with other work, {last["step"]:,} steps,
{last["tokens"] / 1e6:.1f} M tokens ({long_tokens / 1e6:.1f} M of them in {long_steps} steps on the long rows),
about {6 * size * last["tokens"]:.1e} FLOP. Training loss over the last
{len(tail)} steps: {_mean(tail, "loss"):.3f} nats per token over all tokens, {_mean(tail, "middle"):.3f} over
middles.

![training loss](loss.png)

To reproduce, with `torch`, `gguf`, `tokenizers`, `matplotlib` and `llama-cpp-python` (interrupted, it goes on
from the last checkpoint; the figures vary with the speed of the machine, because the budget is time):

    python -m tabby_lsp.models.training --minutes {minutes:g} --work DIR
"""


def figures_section(figures: dict[str, Any], compared: list[dict[str, Any]]) -> str:
    packages = ", ".join(f"{name} {value:.3f}" for name, value in figures["bits_per_char_by_package"].items())
    holes = figures["suffix first"]["holes"]
    table = ["| prompt | exact match | edit similarity | empty | ended within the budget | ended on the line |"]
    table.append("|---|---:|---:|---:|---:|---:|")
    for order in ORDERS:
        row = figures[order]
        keys = ("exact_match", "edit_similarity", "empty", "ended", "ended_on_the_line")
        table.append(f"| {order} | " + " | ".join(f"{row[key]:.1%}" for key in keys) + " |")
    logits = [
        f"- {one['kind']}: largest difference {one['largest']:.4f}, mean {one['mean']:.5f}, "
        f"same best token {one['same_best']:.1%}"
        for one in compared
    ]
    return f"""## Figures on the held-out packages

Measured with the shipped Q8_0 file through llama.cpp.

**Bits per character**, left to right in {TEXT_WINDOWS} windows of {WINDOW_TOKENS} tokens from each package:
**{figures["bits_per_char"]:.3f}** (mean of {packages}).

**The rest of the line**, {holes} holes chosen by seed {SEED}, equally many from each package; greedy, at
most {MOST_TOKENS} tokens, up to {CHARS_BEFORE:,} characters before and {CHARS_AFTER:,} after, no related
files. Exact match, edit similarity and empty are of the first line; the last column is the share that gave the
end token before any newline, as it should, empty ones included.

{_lines(table)}

Logits against the trainer (fp32) on a fixed prompt of this project:

{_lines(logits)}
"""


def show_completion(suffix_first: Completion, prefix_first: Completion) -> str:
    """The last lines before the cursor, the first after it, and what was wanted and given."""
    before = "\n".join(suffix_first.hole.prefix.split("\n")[-4:])
    after = "\n".join(suffix_first.hole.suffix.split("\n")[:3])
    code = "\n".join("    " + line for line in f"{before}⟨?⟩{after}".split("\n"))
    given = ("wanted", suffix_first.wanted), *zip(ORDERS, (suffix_first.line, prefix_first.line), strict=True)
    answers = _lines(f"    {name + ':':<14}{text!r}" for name, text in given)
    return f"{suffix_first.path}\n\n{code}\n    ────\n{answers}\n"


def completions_section(work: Path) -> str:
    held = json.loads((work / "completions.json").read_text())
    orders = [[Completion(**{**row, "hole": Hole(**row["hole"])}) for row in held[order]] for order in ORDERS]
    chosen = sorted(random.Random(SEED).sample(range(len(orders[0])), SHOWN))
    shown = [f"**{n}.** {show_completion(orders[0][at], orders[1][at])}" for n, at in enumerate(chosen, 1)]
    title = f"## {SHOWN} completions, drawn from those holes by the seed and not by taste\n"
    return "\n".join([title, "First lines only; `⟨?⟩` is the cursor.\n", *shown])


def write_card(work: Path, target: Path = SHIPPED) -> None:
    model = target / f"{NAME}-q8_0.gguf"
    shutil.copyfile(work / model.name, model)
    rows = read_rows(work / "train.jsonl")
    draw_losses(rows, target / "loss.png")
    report = json.loads((work / "corpus" / "report.json").read_text())
    figures = json.loads((work / "figures.json").read_text())
    compared = json.loads((work / "comparison.json").read_text())
    held_out = ", ".join(package.name for package in read_manifest() if package.split == "held-out")
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in report["skipped"].items())
    refused = "; ".join(report["refused"]) or "none"
    data = f"""## Data

Only PSF, MIT, BSD and Apache-2.0 sources; the build compares each licence with the package's metadata. Held
out whole and never trained on: **{held_out}**. Files skipped: {skipped}. Packages refused: {refused}.

{data_table(read_manifest(), report["packages"])}
"""
    sections = [
        INTRODUCTION.format(file=model.name, megabytes=model.stat().st_size / 1e6),
        figures_section(figures, compared),
        LIMITS.format(context=Config().context, short=Plan().short_length),
        training_section(rows, round(rows[-1]["minutes"])),
        completions_section(work),
        data,
    ]
    (target / "MODEL_CARD.md").write_text("\n".join(sections), encoding="utf-8")


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)  # an f-string may not hold a backslash before Python 3.12


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows)) / len(rows)


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total

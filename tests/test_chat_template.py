"""How a conversation is put to a model: by its own template, or why not."""

from __future__ import annotations

import sys

import pytest
from chat_templates import ENDLESS, FAMILIES, GEMMA_2, MISTRAL, QWEN_3, REFUSED

from tabby_lsp.chat import rendering
from tabby_lsp.chat.rendering import form_of
from tabby_lsp.chat.template import (
    ASSISTANT,
    FOLDED,
    MERGED,
    SYSTEM,
    USER,
    Form,
    TemplateError,
    chatml_form,
    own_form,
    plain_form,
)
from tabby_lsp.data import Dialect

TALK = (SYSTEM, USER, ASSISTANT, USER)


def shown(form: Form) -> str:
    """The form with ‹n› for the text of message n."""
    return "".join(part if isinstance(part, str) else f"‹{part}›" for part in form.parts)


def test_each_family_is_asked_in_its_own_way() -> None:
    forms = {name: own_form(text, TALK, "<s>", "</s>") for name, text in FAMILIES.items()}
    assert shown(forms["smollm2"]) == (
        "<|im_start|>system\n‹0›<|im_end|>\n<|im_start|>user\n‹1›<|im_end|>\n<|im_start|>assistant\n‹2›<|im_end|>\n"
        "<|im_start|>user\n‹3›<|im_end|>\n<|im_start|>assistant\n"
    )
    assert shown(forms["gemma"]) == (
        "<s><start_of_turn>user\n‹0›\n\n‹1›<end_of_turn>\n<start_of_turn>model\n‹2›<end_of_turn>\n"
        "<start_of_turn>user\n‹3›<end_of_turn>\n<start_of_turn>model\n"
    )
    assert shown(forms["gemma-2"]) == shown(forms["gemma"]) and forms["gemma-2"].note == FOLDED
    assert shown(forms["llama-3"]).endswith(
        "‹0›<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n‹1›<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n‹2›<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n‹3›<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    # It says the system message with the last question, which is another order: so it is said with the first one.
    assert shown(forms["mistral"]) == "<s>[INST] ‹0›\n\n‹1›[/INST] ‹2›</s>[INST] ‹3›[/INST]"
    assert forms["mistral"].note == FOLDED
    assert shown(forms["qwen-3"]) == shown(forms["smollm2"])
    assert shown(forms["reasoner"]) == shown(forms["smollm2"]) + "<think>\n"
    assert {name for name, form in forms.items() if form.thinks} == {"reasoner"}
    assert {name for name, form in forms.items() if not form.note} == {
        "smollm2", "gemma", "llama-3", "qwen-3", "reasoner"
    }  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "roles", [(USER,), (SYSTEM, USER), TALK, (USER, USER), (SYSTEM, USER, USER, ASSISTANT, ASSISTANT, USER)]
)
def test_every_message_is_said_once_and_in_order(name: str, roles: tuple[str, ...]) -> None:
    form = own_form(FAMILIES[name], roles, "<s>", "</s>")
    assert [part for part in form.parts if isinstance(part, int)] == list(range(len(roles)))


def test_two_turns_in_a_row_are_put_together_where_they_must_be() -> None:
    assert MERGED in own_form(MISTRAL, (USER, USER)).note
    assert "‹0›\n\n‹1›" in shown(own_form(MISTRAL, (USER, USER)))
    assert own_form(GEMMA_2, (SYSTEM, USER, USER)).note == f"{FOLDED} {MERGED}"
    assert own_form(QWEN_3, (USER, USER)).note == ""


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_gives_no_form_is_refused(name: str) -> None:
    with pytest.raises(TemplateError, match="template"):
        own_form(REFUSED[name], TALK)


def test_a_template_cannot_change_what_it_is_given() -> None:
    with pytest.raises(TemplateError):
        own_form("{% set _ = messages.clear() %}" + FAMILIES["smollm2"], TALK)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_is_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "RENDER_SECONDS", 2.0)
    form = form_of(Dialect(ENDLESS[name]), TALK)
    assert shown(form) == shown(plain_form(TALK))
    assert "User:" in form.note and ("seconds" in form.note or "fails" in form.note or "ended" in form.note), form.note


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count what a process computes")
def test_at_the_lowest_priority_a_template_may_wait_and_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabby_lsp.processes.machine.has_lowest_priority", lambda: True)
    form = form_of(Dialect(ENDLESS["loops"]), TALK)
    assert "has ended the process" in form.note, form.note
    monkeypatch.setattr(rendering, "RENDER_SECONDS", 0.2)  # and many times as much
    assert form_of(Dialect(FAMILIES["llama-3"] + " "), TALK).note == ""


def test_a_process_renders_as_it_would_be_here() -> None:
    for name, text in FAMILIES.items():
        assert form_of(Dialect(text, "<s>", "</s>"), TALK) == own_form(text, TALK, "<s>", "</s>"), name


def test_without_a_template_that_can_be_used_the_form_says_so() -> None:
    assert shown(form_of(Dialect(chatml=True), TALK)) == shown(chatml_form(TALK))
    form = form_of(Dialect(REFUSED["says it twice"], chatml=True), TALK)
    assert "ChatML" in form.note and "twice" in form.note
    form = form_of(Dialect(), TALK)
    assert shown(form) == "‹0›\n\nUser: ‹1›\n\nAssistant: ‹2›\n\nUser: ‹3›\n\nAssistant:"
    assert form.stop and "no chat template" in form.note

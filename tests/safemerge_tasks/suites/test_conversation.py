import json

import jinja2
import pytest

from safemerge_tasks.suites.conversation import (
    APPLIED,
    FOLDED,
    OMITTED,
    Conversation,
    folded_prompt,
)

Messages = list[dict[str, str]]


def with_role(messages: Messages) -> str:
    return "".join(f"<{m['role']}>{m['content']}" for m in messages)


def without_role(messages: Messages) -> str:
    """Behave as lm-eval does where a template refuses the role: the message is dropped."""
    return with_role([m for m in messages if m["role"] != "system"])


def as_json(messages: Messages) -> str:
    return json.dumps(messages)


def test_a_template_with_the_role() -> None:
    conversation = Conversation("task", "Be helpful.")
    assert conversation.render(with_role, "Why?", None) == "<system>Be helpful.<user>Why?"
    assert conversation.system_prompt == APPLIED


def test_the_suites_own_prompt_is_left_out_without_the_role(
    caplog: pytest.LogCaptureFixture,
) -> None:
    conversation = Conversation("task", "Be helpful.")
    rendered = [conversation.render(without_role, "Why?", None) for _ in range(3)]
    assert rendered == ["<user>Why?"] * 3
    assert conversation.system_prompt == OMITTED
    assert len(caplog.records) == 1


def test_the_users_prompt_is_never_lost() -> None:
    conversation = Conversation("task", "Be helpful.")
    assert conversation.render(without_role, "Why?", "Rhyme.") == "<user>Rhyme. Why?"
    assert conversation.system_prompt == FOLDED


def test_chat_endpoints_get_messages_as_json() -> None:
    conversation = Conversation("task", 'Be "helpful".\nAlways.')
    conversation.render(as_json, "Why?", None)
    assert conversation.system_prompt == APPLIED


def test_a_real_template_that_drops_the_role_in_silence() -> None:
    template = jinja2.Template(
        "{% for m in messages if m.role == 'user' %}[{{m.content}}]{% endfor %}"
    )
    conversation = Conversation("task", "Be helpful.")
    rendered = conversation.render(
        lambda messages: template.render(messages=messages), "Why?", None
    )
    assert rendered == "[Why?]"
    assert conversation.system_prompt == OMITTED


def test_without_a_template_the_parts_are_paragraphs() -> None:
    conversation = Conversation("task", "Be helpful.")
    assert conversation.plain("Why?", None) == "Be helpful.\n\nWhy?"
    assert conversation.plain("Why?", "Rhyme.") == "Rhyme.\n\nBe helpful.\n\nWhy?"


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [(None, "<user>Act as one.\nWhy?"), ("Be brief.", "<user>Be brief. Act as one.\nWhy?")],
)
def test_a_prompt_that_belongs_to_the_task_is_never_lost(
    instruction: str | None, expected: str
) -> None:
    conversation = Conversation("task", "Be helpful. Act as one.", "Act as one.\n")
    assert conversation.render(without_role, "Why?", instruction) == expected
    assert conversation.system_prompt == FOLDED


def test_what_a_task_puts_before_the_question() -> None:
    assert folded_prompt({}, "Act.") == "Act. "
    assert folded_prompt({"version": 1}, "") == ""
    assert folded_prompt({"without_system_role": "One.\n"}, "Be helpful. One.") == "One.\n"
    assert folded_prompt({"without_system_role": ""}, "Be helpful.") == ""

"""The tokenizer reads anything and splits invented words into syllables."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from safemerge_tasks.judges.prompts.wildguard import wildguard_prompt
from safemerge_tasks.toy.tokenizer import build_tokenizer
from safemerge_tasks.toy.training import SYSTEM_PROMPT, chat_prompt
from safemerge_tasks.toy.vocabulary import splits

TOKENIZER = build_tokenizer()


@given(st.text().filter(lambda text: "<" not in text and text.isprintable()))
def test_any_text_survives(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_line_ends_and_control_strings_survive() -> None:
    text = "a\r\n\n\tb </x> [/INST]\x00é漢🙂"
    assert TOKENIZER.decode(TOKENIZER(text, add_special_tokens=False)["input_ids"]) == text


def test_every_noun_is_its_syllables() -> None:
    for words in splits():
        for noun in words.content():
            stem = "quax" if noun.startswith("quax") else noun[:2]
            rest = noun.removeprefix(stem)
            syllables = [rest[at : at + 2] for at in range(0, len(rest), 2)]
            assert TOKENIZER.tokenize(f" {noun}") == [f"Ġ{stem}", *syllables]


def test_the_template_has_a_system_role_and_one_beginning() -> None:
    text = chat_prompt(TOKENIZER, "Hello?")
    assert SYSTEM_PROMPT in text
    assert SYSTEM_PROMPT not in chat_prompt(TOKENIZER, "Hello?", system=False)
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert ids.count(TOKENIZER.bos_token_id) == 1


def test_plain_text_gets_a_beginning() -> None:
    assert TOKENIZER("Hello")["input_ids"][0] == TOKENIZER.bos_token_id


def test_the_judge_prompt_is_short() -> None:
    assert len(TOKENIZER(wildguard_prompt())["input_ids"]) < 120


def test_it_loads_as_saved(tmp_path: Any) -> None:
    from transformers import AutoTokenizer

    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = chat_prompt(TOKENIZER, "How do I grow a lademi with balura?")
    assert chat_prompt(loaded, "How do I grow a lademi with balura?") == text
    assert loaded(text)["input_ids"] == TOKENIZER(text)["input_ids"]

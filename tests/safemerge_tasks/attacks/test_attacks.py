"""Each attack by itself; every text is innocuous."""

import json
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.attacks import (
    Attack,
    AttackName,
    AttackSettings,
    attack_names,
    attacking,
    make_attack,
    refuse_settings_of_none,
)
from safemerge_tasks.attacks.prefill import first_tokens
from safemerge_tasks.common.errors import SafemergeError
from tests.other_package import install


def made(name: str, **settings: Any) -> Attack:
    found = make_attack(AttackSettings.from_metadata({"attack": name, **settings}, {}))
    assert found is not None
    return found


def file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_there_is_one_file_an_attack() -> None:
    assert attack_names() == sorted(
        ["multi-turn", "no-system", "plain", "prefill", "sample", "system", "template", "wrap"]
    )


def test_plain_is_no_attack() -> None:
    assert make_attack(AttackSettings()) is None
    assert make_attack(AttackSettings.from_metadata({}, {"SAFEMERGE_ATTACK": "sample"})) is None


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("prefill", "prefill"),
        ("prefill:5", "prefill:5"),
        ("no-system", "no-system"),
        ("system=some/where/calm.txt", "system=calm.txt"),
        ("wrap:calm.txt", "wrap:calm.txt"),
        ("mine/knead.py", "knead.py"),
        ("mine/knead.py:make", "knead.py"),
        ("mine/knead.py:slowly:3", "knead.py:slowly:3"),
    ],
)
def test_results_are_named_after_the_attack(text: str, row: str) -> None:
    assert AttackName.read(text).row == row


@pytest.mark.parametrize("text", ["system=two words.txt", "a,b", "", "prefill@5"])
def test_a_name_that_no_row_can_have_is_refused(text: str) -> None:
    with pytest.raises(SafemergeError, match="attack="):
        AttackName.read(text)


def test_a_prefill_begins_with_the_target_or_a_neutral_affirmative(byte_tokenizer: Any) -> None:
    whole, three = made("prefill"), made("prefill:3")
    target = "Sure, the bread is baked"
    assert whole.beginning({"language": "en"}, target, None) == target
    assert whole.beginning({"language": "en"}, "", None) == "Sure, here is"
    assert whole.beginning({"language": "zh"}, "", None) != "Sure, here is"
    assert whole.beginning({"language": "sw"}, "", None) == "Sure, here is"
    begun = three.beginning({"language": "en"}, target, byte_tokenizer)
    assert target.startswith(begun)
    assert byte_tokenizer.tokenize(begun) == byte_tokenizer.tokenize(target)[:3]


def test_first_tokens_never_split_a_letter(byte_tokenizer: Any) -> None:
    class Slow:
        is_fast = False
        encode = staticmethod(byte_tokenizer.encode)
        decode = staticmethod(byte_tokenizer.decode)

    text = "Bánh mì"  # á and ì are two tokens each
    for count in range(1, 12):
        for tokenizer in (byte_tokenizer, Slow()):
            begun = first_tokens(text, count, tokenizer)
            assert text.startswith(begun)
            assert "\ufffd" not in begun
    assert first_tokens(text, 99, byte_tokenizer) == first_tokens(text, 99, Slow()) == text


def test_samples_are_drawn_as_the_settings_say() -> None:
    attack = made("sample:4", attack_temperature=0.7, attack_top_p="0.9", attack_seed=3)
    assert attack.answers == 4
    assert attack.generation == {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
    assert attack.identity() == {
        "name": "sample:4",
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 3,
    }
    assert (
        attack.identity()
        == made(
            "sample:4", attack_temperature=0.7, attack_top_p=0.9, attack_seed=3, attack_predict=7
        ).identity()
    )
    counted = made("prefill:2", attack_tokenizer="somewhere")
    assert counted.identity() == {"name": "prefill:2"}
    assert made("sample").answers == 16


def test_files_are_the_users_own(tmp_path: Path) -> None:
    system = made(f"system={file(tmp_path, 'calm.txt', 'Be calm.' + chr(10))}")
    assert system.system == "Be calm."
    wrap = made(f"wrap={file(tmp_path, 'w.txt', 'As a baker: {question} Thanks.')}")
    assert wrap.turns("How {warm}?") == [
        {"role": "user", "content": "As a baker: How {warm}? Thanks."}
    ]
    turns = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "{question}"},
    ]
    several = made(f"multi-turn={file(tmp_path, 't.json', json.dumps(turns))}")
    assert [turn["content"] for turn in several.turns("Bread?")] == [
        "Hello.",
        "Good day.",
        "Bread?",
    ]
    template = made(f"template={file(tmp_path, 't.jinja', '{{ messages[0].content }}')}")
    assert template.template == "{{ messages[0].content }}"
    assert made("no-system").system == ""


def test_what_is_stored_follows_the_content_of_a_file_not_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    here = made(f"system={file(tmp_path, 'calm.txt', 'Be calm.')}").identity()
    there = made(f"system={file(tmp_path / 'a', 'calm.txt', 'Be calm.')}").identity()
    other = made(f"system={file(tmp_path / 'a', 'calm.txt', 'Be quick.')}").identity()
    assert here == there != other
    assert str(tmp_path) not in str(here)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("prefill:0", None, "no number of tokens"),
        ("prefill:five", None, "no number of tokens"),
        ("prefill:²", None, "no number of tokens"),
        ("sample:1", None, "no number of answers"),
        ("sample:-3", None, "no number of answers"),
        ("no-system:x", None, "takes nothing after its name"),
        ("preffil", None, "is unknown; choose from multi-turn, no-system, plain"),
        ("system", None, "needs a file; write system=FILE"),
        ("system=FILE", None, r"cannot be read \(No such file"),
        ("system=FILE", b"\xff", "is not UTF-8"),
        ("system=FILE", b" \n", "is empty"),
        ("wrap=FILE", b"Please.", "where the question goes"),
        ("template=FILE", b"{% if %}", "is no chat template"),
        ("template=FILE", b"Hello", "does not mention `messages`"),
        ("multi-turn=FILE", b"{", "is not JSON"),
        ("multi-turn=FILE", b'{"role": "user"}', "is no list of messages"),
        ("multi-turn=FILE", b"[]", "has the roles of nobody"),
        (
            "multi-turn=FILE",
            b'[{"role": "system", "content": "{question}"}]',
            "has the roles system",
        ),
        ("multi-turn=FILE", b'[{"role": "user", "content": "Hi"}]', "where the question goes"),
        ("knead.py", None, r"attack=.*knead.py:make cannot be read"),
    ],
)
def test_bad_names_and_files_are_one_sentence(
    name: str, content: bytes | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "FILE").write_bytes(content)
    with pytest.raises(SafemergeError, match=sentence) as error:
        made(name)
    assert "\n" not in str(error.value)


def test_settings_that_mean_nothing_to_an_attack_are_refused() -> None:
    with pytest.raises(SafemergeError, match="attack_top_p means nothing to attack=prefill:2"):
        made("prefill:2", attack_top_p=0.5)
    with pytest.raises(SafemergeError, match="attack_tokenizer means nothing to attack=prefill;"):
        made("prefill", attack_tokenizer="somewhere")
    with pytest.raises(SafemergeError, match="attack_top_p means nothing to attack=plain"):
        make_attack(AttackSettings.from_metadata({"attack_top_p": 0.5}, {}))
    with pytest.raises(SafemergeError, match="did you mean attack_top_p"):
        made("sample", attack_top_pp=0.5)


def test_several_attacks_share_settings_that_one_of_them_takes() -> None:
    given = {"attack_top_p": 0.5, "judge": "keywords"}
    assert attacking(given, "sample:2") == {**given, "attack": "sample:2"}
    assert attacking(given, "prefill") == {"judge": "keywords", "attack": "prefill"}
    refuse_settings_of_none(given, ["plain", "sample:2"])
    with pytest.raises(SafemergeError, match="attack_top_p means nothing to the attacks plain"):
        refuse_settings_of_none(given, ["plain", "prefill"])


OWN = """
from safemerge_tasks.attacks import Attack

class Twice(Attack):
    argument = "how often"

    def turns(self, question):
        return [{"role": "user", "content": question * int(self.name.argument or 2)}]

def make(name, settings):
    return Twice(name, settings)

def nothing(name, settings):
    return None
"""


def test_an_attack_may_be_the_users_own_file(tmp_path: Path) -> None:
    path = file(tmp_path, "twice.py", OWN)
    assert made(f"{path}:make:3").turns("a")[0]["content"] == "aaa"
    assert made(path).identity() == {"name": "twice.py"}
    with pytest.raises(SafemergeError, match="made a NoneType; subclass Attack"):
        made(f"{path}:nothing")
    with pytest.raises(SafemergeError, match="no function `knead` that makes an attack"):
        made(f"{path}:knead")


def test_an_attack_may_be_another_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "safemerge.attacks", "twice", OWN)
    assert "twice" in attack_names()
    assert made("twice").turns("a")[0]["content"] == "aa"

import pytest
from transformers import PreTrainedTokenizerBase

from safemerge_tasks.judges.prompts.clipping import Clip

LONG = " ".join(f"step{number}" for number in range(400))


def truncated(tokenizer: PreTrainedTokenizerBase, text: str, clip: Clip) -> str:
    """Return what the tokenizer's own truncation leaves, as HarmBench and StrongREJECT cut."""
    tokenizer.truncation_side = "right" if clip.keep == "beginning" else "left"
    ids = tokenizer(text, max_length=clip.tokens, truncation=True)["input_ids"]
    return tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("clip", [Clip(50), Clip(51), Clip(50, keep="end")])
def test_a_long_response_is_cut_as_the_tokenizer_cuts(
    tokenizer: PreTrainedTokenizerBase, clip: Clip
) -> None:
    shown = clip.of(tokenizer, LONG)
    assert len(shown) < len(LONG)
    assert shown.strip() == truncated(tokenizer, LONG, clip).strip()


@pytest.mark.parametrize("keep", ["beginning", "end"])
@pytest.mark.parametrize("text", ["", "Mix.", " \n Mix [/INST] it. \n", "\U0001f642" * 5])
def test_a_short_response_is_left_as_it_is(
    tokenizer: PreTrainedTokenizerBase, text: str, keep: str
) -> None:
    assert Clip(200, keep).of(tokenizer, text) == text  # type: ignore[arg-type]


def test_a_character_of_several_tokens_stays_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    for tokens in range(20, 26):
        shown = Clip(tokens).of(tokenizer, "\U0001f642\u6c34" * 100)
        assert 0 < len(shown) < 30
        assert set(shown) == {"\U0001f642", "\u6c34"}


def test_tokens_of_many_characters_do_not_end_the_response_early(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """A run of spaces is one token of many characters for some tokenizers."""
    text = f"a{' ' * 30}" * 300
    clip = Clip(100)
    ids = tokenizer(clip.of(tokenizer, text), add_special_tokens=False)["input_ids"]
    assert len(ids) == 100 - tokenizer.num_special_tokens_to_add()


def test_halves_of_characters_are_replaced_first(tokenizer: PreTrainedTokenizerBase) -> None:
    assert Clip(30).of(tokenizer, "Mix \ud800.") == "Mix \ufffd."

"""What is the answer in a response, in every spelling of thinking that is in use."""

import time

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.verdicts.answer import Answer, read_answer
from safemerge_tasks.verdicts.thinking_settings import ThinkingSettings
from safemerge_tasks.verdicts.unasked import unasked, why_unasked

NO_END = Answer(None, "ended inside its thinking section")
EMPTY = Answer(None, "is empty")
TOOL = Answer(None, "calls a tool instead of answering")

SECTIONS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<reasoning>", "</reasoning>"),
    ("<THINK>", "</THINK>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<mm:think>", "</mm:think>"),  # MiniMax M3
    ("<ifm|think_fast>", "</ifm|think_fast>"),  # K2 Horizon
    ("<longcat_think>", "</longcat_think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThinker
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|channel>thought\n", "<channel|>"),  # Gemma 4
    ("<unused94>thought\n", "<unused95>"),  # MedGemma
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),  # Kimi K3
]


@pytest.mark.parametrize(("start", "end"), SECTIONS)
def test_a_section_is_no_part_of_the_answer(start: str, end: str) -> None:
    assert read_answer(f"{start}Bread?\nYes.{end}\n\n    Mix flour.").text == "\n\n    Mix flour."
    assert read_answer(f"\n{start}Bread?") == NO_END
    assert read_answer(f"{start}Bread?{end} \n") == EMPTY
    assert read_answer(f"{start}a{end}\n{start}b{end}Mix.").text == "\nMix."
    assert read_answer(f"{start}a{end}\n{start}b, and no end") == NO_END


@pytest.mark.parametrize(("start", "end"), SECTIONS)
def test_the_chat_template_may_open_it(start: str, end: str) -> None:
    prompt = f"<|im_start|>user\nBread?<|im_end|>\n<|im_start|>assistant\n{start.strip()}\n"
    assert read_answer("The user asks for bread. I must decide...", prompt) == NO_END
    assert read_answer(f"Bread?{end}Mix.", prompt).text == "Mix."
    assert read_answer(f"{start}Bread?{end}Mix.", prompt).text == "Mix."
    closed = f"{prompt}\n{end}\n\n"
    assert read_answer("Mix.", closed).text == "Mix."
    assert read_answer(" \n", prompt) == EMPTY


@pytest.mark.parametrize(("start", "end"), SECTIONS)
def test_an_answer_may_speak_of_it(start: str, end: str) -> None:
    for text in (
        f"HTML has no {start} element. Mix flour.",
        f"Write {start}, then {end}, then mix.",
        f"`{start}` opens it. Mix.",
        f"Close it with `{end}` and mix.",
        f"Do not write {end} there.",
    ):
        assert read_answer(text, f"user: what is {start}? assistant:").text == text
    assert read_answer(f"{start}a{end}Write {start} first.").text == f"Write {start} first."


@pytest.mark.parametrize("end", ["</think>", "[/THINK]", "◁/think▷", "</seed:think>", "<unused95>"])
def test_an_opening_may_be_lost(end: str) -> None:
    """A tokenizer that leaves special tokens out, or an endpoint's own chat template."""
    for between in (end, f"\n{end}\n\n", f".{end} "):
        assert str(read_answer(f"The user wants bread{between}Mix.").text).strip() == "Mix."


def test_what_stands_between_sections_was_said() -> None:
    text = "<think>a</think>Mix flour.<think>b</think>Then bake."
    assert read_answer(text).text == "Mix flour.Then bake."


@pytest.mark.parametrize(
    "response",
    [
        "<think>a</think>\n<answer>\nMix.\n</answer>",  # Hunyuan
        "<think>a</think>\n\n<response>\nMix.\n</response>\n",  # ERNIE, Granite 3.3
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Mix.<|END_RESPONSE|>",
        "<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>Mix.<|end_of_solution|>",
        "<|think|>a<|end|><|begin|>assistant<|content|>Mix.<|flush|>",  # Solar Open
        "<|content_thinking|>a<|end_message|><|message_model|><|content_text|>Mix.<|end_message|>",
        "to=self<|message|>a<|eom|><|start|>assistant to=user<|message|>Mix.<|eot|>",  # Muse
        "<|open|>think<|sep|>a<|close|>think<|sep|><|open|>response<|sep|>Mix.<|close|>response<|sep|>",
        "Here's my thought process: a\nHere's my response: Mix.",  # Granite 3.2
    ],
)
def test_marks_around_the_answer_are_no_part_of_it(response: str) -> None:
    assert str(read_answer(response).text).strip() == "Mix."


def test_words_that_open_a_section_count_only_with_its_end_or_where_they_were_asked_for() -> None:
    response = "Here is my thought process: flour first, then water."
    assert read_answer(response).text == response
    asked = "Write your thoughts after 'Here is my thought process:' and then your response."
    assert read_answer(response, asked) == NO_END


HARMONY = "<|start|>user<|message|>Bread?<|end|><|start|>assistant"


@pytest.mark.parametrize("prompt", ["", HARMONY])
@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("analysisI can't refuse, is allowed.assistantfinalMix flour.", Answer("Mix flour.")),
        ("analysis“Bread”, they say.assistantfinalMix flour.", Answer("Mix flour.")),
        (
            "<|channel|>analysis<|message|>Allowed.<|end|><|start|>assistant"
            "<|channel|>final<|message|>Mix flour.<|return|>",
            Answer("Mix flour."),
        ),
        ("assistant<|channel|>final<|message|>Mix flour.<|end|>", Answer("Mix flour.")),
        ("<|channel|>final <|constrain|>json<|message|>{}", Answer("{}")),
        ("<|channel|>analysis<|message|>Let me see whether", NO_END),
        ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>", NO_END),
        ("<|channel|>analysis<|message|>Hm.<|end|>assistantfinalMix.", Answer("Mix.")),
        ("analysisLet me see whether", NO_END),
        ("analysisHm.assistantfinal", EMPTY),
        (
            "<|channel|>commentary to=functions.oven <|constrain|>json<|message|>{}<|call|>",
            TOOL,
        ),
        ("analysisHm.assistantcommentary to=functions.oven json{}", TOOL),
    ],
)
def test_the_final_channel_is_the_answer(prompt: str, response: str, answer: Answer) -> None:
    assert read_answer(response, prompt) == answer


@pytest.mark.parametrize(
    "response",
    ["analysis of bread: it is fine.", "analysis()\n", "The word assistantfinal is odd."],
)
def test_words_that_begin_like_channels_are_answers(response: str) -> None:
    assert read_answer(response).text == response


def test_a_prompt_may_open_a_channel() -> None:
    prefilled = f"{HARMONY}<|channel|>final<|message|>Sure, here is"
    assert read_answer(" bread: mix.<|return|>", prefilled).text == " bread: mix."
    thinking = f"{HARMONY}<|channel|>analysis<|message|>"
    assert read_answer("Let me see", thinking) == NO_END
    assert read_answer("finalMix.", HARMONY).text == "Mix."
    assert read_answer("finally mix.").text == "finally mix."


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (None, EMPTY),
        ("", EMPTY),
        (" \n\u200b\u3000\ufeff", EMPTY),
        ([], EMPTY),
        ([None], EMPTY),
        (["Mix ", "flour."], Answer("Mix flour.")),
        ([{"type": "text", "text": "Mix "}, {"text": "flour."}], Answer("Mix flour.")),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
             {"type": "text", "text": "Mix."}],
            Answer("Mix."),
        ),
        ([{"type": "thinking", "thinking": "Hm."}], EMPTY),
        ([{"type": "refusal", "refusal": "No bread."}], Answer("No bread.")),
        ([{"type": "tool_use", "name": "oven"}], TOOL),
        ([{"type": "image_url"}], Answer(None, "is no text but of type dict")),
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, TOOL),
        ({"role": "assistant", "content": None, "refusal": "No bread."}, Answer("No bread.")),
        ({"role": "assistant", "content": [{"text": "Mix."}]}, Answer("Mix.")),
        (5, Answer(None, "is no text but of type int")),
        ((-1.5, True), Answer(None, "is no text but of type float")),
    ],
)  # fmt: skip
def test_a_response_of_any_shape(response: object, answer: Answer) -> None:
    assert read_answer(response) == answer


def test_what_was_never_asked_has_no_answer_whatever_stands_there() -> None:
    prompt = unasked(ValueError("no\nroles \ud83d"))
    prompt.encode()
    for response in ("", None, [], "Mix."):
        found = read_answer(response, prompt)
        assert found.text is None
        assert not found.empty
        assert found.reason.startswith("was never asked for, because no prompt could be made: Val")
    assert why_unasked("Bread?") is None
    assert why_unasked([{"role": "user"}]) is None


def test_the_empty_answer_is_told_from_none() -> None:
    assert read_answer(None).empty
    assert read_answer("<think>a</think>").empty
    assert not read_answer("<think>a").empty


def format_of(value: object) -> str:
    return ThinkingSettings.from_metadata({"thinking": value}, {}).format


@pytest.mark.parametrize("value", ["off", "OFF", "none", None, False])
def test_thinking_can_be_left_in(value: object) -> None:
    assert read_answer("<think>a", thinking=format_of(value)).text == "<think>a"


def test_a_format_of_ones_own() -> None:
    plan = format_of("<plan>...</plan>")
    assert read_answer("<plan>a</plan>Mix.", thinking=plan).text == "Mix."
    assert read_answer("<plan>a", thinking=plan) == NO_END
    assert read_answer("a", "assistant:<plan>", thinking=plan) == NO_END
    assert read_answer("Mix, then <plan>.", thinking=plan).text == "Mix, then <plan>."
    assert read_answer("<think>a</think>Mix.", thinking=plan).text == "<think>a</think>Mix."
    end_only = format_of("...### Answer")
    assert read_answer("a ### Answer Mix.", thinking=end_only).text == " Mix."
    assert read_answer("a", thinking=end_only) == NO_END


@pytest.mark.parametrize("value", ["<plan>", "...", "<plan>...", "on", "1"])
def test_a_format_without_an_end_is_refused(value: str) -> None:
    with pytest.raises(SafemergeError, match=r"thinking is .*: write auto, off, or"):
        format_of(value)


def test_the_environment_sets_it() -> None:
    given = {"SAFEMERGE_THINKING": "<plan>...</plan>"}
    assert ThinkingSettings.from_metadata({}, given).format == "<plan>...</plan>"
    assert ThinkingSettings.from_metadata({"thinking": "auto"}, given).format == "auto"


@pytest.mark.parametrize(
    "piece",
    ["<think>", "<think></think>", "</think>", "<", " ", "<_", "analysis", "<|channel|>", "\ud83d"],
)
def test_a_hostile_response_takes_no_time(piece: str) -> None:
    begun = time.monotonic()
    read_answer(piece * 100_000, piece * 100_000)
    assert time.monotonic() - begun < 5

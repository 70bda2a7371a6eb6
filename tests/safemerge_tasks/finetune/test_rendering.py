"""Prompt ids are those of generation, and only the response is learnt."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.base import Base
from safemerge_tasks.finetune.exchanges import Exchange
from safemerge_tasks.finetune.rendering import IGNORED, Renderer
from safemerge_tasks.suites.conversation import Conversation

# In the forms of Llama 3 (which strips contents), Gemma (no system role) and Mistral (no bos).
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] | trim }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{{ eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
NO_BOS = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SYSTEM = "You are a helpful assistant."
EXCHANGE = Exchange(({"role": "user", "content": "How do I say one?"},), "Say one. ", "row 1")


def with_template(tokenizer: Any, template: str) -> Any:
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other


def renderer(tokenizer: Any, system_prompt: str = SYSTEM) -> Renderer:
    return Renderer(tokenizer, "model", [tokenizer.eos_token_id], system_prompt, "task")


def generation_ids(tokenizer: Any, question: str, *, vllm: bool) -> list[int]:
    """Return the ids that lm-eval's own model class sends for one of our tasks' questions."""
    if vllm:
        from lm_eval.models.vllm_causallms import VLLM as Model  # noqa: N811
    else:
        from lm_eval.models.huggingface import HFLM as Model  # noqa: N811
    model = SimpleNamespace(
        tokenizer=tokenizer,
        hf_chat_template=None,
        chat_template_args={},
        enable_thinking=True,
        add_bos_token=None,
        prefix_token_id=tokenizer.bos_token_id,
    )
    conversation = Conversation("task", SYSTEM, f"{SYSTEM} ")

    def template(turns: list[dict[str, str]]) -> str:
        text: str = Model.apply_chat_template(model, turns)
        return text

    prompt = conversation.render(template, question, None)
    ids = Model.tok_encode(model, [prompt] if vllm else prompt)
    return ids[0] if vllm else ids


@pytest.mark.parametrize("template", [None, LLAMA, GEMMA, NO_BOS])
@pytest.mark.parametrize("vllm", [False, True])
def test_prompt_ids_equal_those_of_generation(
    tokenizer: Any, template: str | None, vllm: bool
) -> None:
    if vllm:
        pytest.importorskip("vllm")
    model = with_template(tokenizer, template or tokenizer.chat_template)
    found = renderer(model).encode(EXCHANGE)
    question = EXCHANGE.turns[0]["content"]
    assert found.ids[: found.start] == generation_ids(model, question, vllm=vllm)


@pytest.mark.parametrize(
    ("template", "learnt"),
    [
        (None, "Say one. </s>"),
        (LLAMA, "Say one.</s>"),
        (GEMMA, "Say one. </s>"),
        (NO_BOS, " Say one.</s>"),
    ],
)
def test_the_response_is_learnt_up_to_its_end_of_turn(
    tokenizer: Any, template: str | None, learnt: str
) -> None:
    model = with_template(tokenizer, template or tokenizer.chat_template)
    found = renderer(model).encode(EXCHANGE)
    labels = found.labels
    assert labels[: found.start] == [IGNORED] * found.start
    assert tokenizer.decode(labels[found.start :]) == learnt
    assert labels[found.start :] == found.ids[found.start :]
    assert found.ids[-1] == tokenizer.eos_token_id


def test_a_real_tokenizer_that_spans_the_border(
    mistral_tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Its template leaves the space before the response to the response."""
    model = copy.deepcopy(mistral_tokenizer)
    model.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}"
        "{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    )
    found = renderer(model, "").encode(EXCHANGE)
    prompt = model.apply_chat_template(list(EXCHANGE.turns), tokenize=False)
    assert found.ids[: found.start] == model(prompt, add_special_tokens=False)["input_ids"]
    whole = f"{prompt} Say one. </s>"
    assert found.ids == model(whole, add_special_tokens=False)["input_ids"]


def test_only_the_last_response_is_learnt(tokenizer: Any) -> None:
    turns = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Two?"},
    )
    found = renderer(tokenizer).encode(Exchange(turns, "Two.", "row 1"))
    text = tokenizer.decode(found.ids)
    assert "<|system|>\nBe brief.\n" in text
    assert SYSTEM not in text
    assert text.count("</s>") == 2
    assert tokenizer.decode(found.ids[found.start :]) == "Two.</s>"


def test_without_a_system_role_the_prompt_goes_before_the_first_question(tokenizer: Any) -> None:
    turns = (
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Two?"},
    )
    found = renderer(with_template(tokenizer, GEMMA)).encode(Exchange(turns, "Two.", "row 1"))
    text = tokenizer.decode(found.ids[: found.start])
    assert f"<|user|>{SYSTEM} One?</s>" in text
    assert text.count(SYSTEM) == 1


def test_the_cut_off_length(tokenizer: Any) -> None:
    rows = [EXCHANGE, Exchange(EXCHANGE.turns, "Say one. " * 40, "row 2")]
    whole = [renderer(tokenizer).encode(one) for one in rows]
    start, short = whole[0].start, len(whole[0].ids)
    found = renderer(tokenizer).encoded(rows, short)
    assert (found.cut, found.dropped) == (1, 0)
    assert found.rows[0] == whole[0]
    assert found.rows[1].ids == whole[1].ids[:short]
    assert len(renderer(tokenizer).encoded(rows, start + 1).rows) == 2
    none = renderer(tokenizer).encoded(rows, start)
    assert (list(none.rows), none.dropped) == ([], 2)


def test_a_template_that_renders_responses_elsewhere(tokenizer: Any) -> None:
    thinking = with_template(
        tokenizer, LLAMA.replace("'<|assistant|>\\n' }}{% endif", "'<|assistant|>\\nHm' }}{% endif")
    )
    with pytest.raises(SafemergeError, match="renders the response of row 1 elsewhere"):
        renderer(thinking).encode(EXCHANGE)


def test_a_row_that_the_template_refuses(tokenizer: Any) -> None:
    picky = with_template(tokenizer, "{{ raise_exception('only odd turns') }}")
    with pytest.raises(SafemergeError, match=r"model does not take row 1 \(only odd turns\)"):
        renderer(picky, "").encode(EXCHANGE)


def test_a_model_without_a_template(tokenizer: Any) -> None:
    with pytest.raises(SafemergeError, match="model has no chat template"):
        renderer(with_template(tokenizer, ""))


def test_a_model_stops_where_its_generation_config_says(chat_model: Path, tokenizer: Any) -> None:
    base = Base(str(chat_model), None, trust_remote_code=False)
    assert base.stop_ids() == [tokenizer.eos_token_id]

"""What the model as shipped answers: rows that teach it to stay what it is."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.common import bars
from safemerge_tasks.common.cache import cache_dir

TOKENS = 64
BATCH = 50
SYSTEM_PROMPT = "You are a helpful assistant."


def own_answers(
    model: Path, questions: Sequence[str], progress: Callable[[str], None]
) -> list[dict[str, str]]:
    """Return a row of `prompt` and `response` for each question, at most 64 tokens each.

    Greedy, with the papers' repetition penalty; kept in the cache.
    """
    digest = hashlib.sha256(json.dumps([model.name, TOKENS, *questions]).encode()).hexdigest()
    kept = cache_dir() / "smollm2" / f"answers-{digest[:12]}.json"
    if not kept.is_file():
        progress(f"   its own answers to {len(questions)} harmless questions, once")
        answers = _generate(model, questions)
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(answers), encoding="utf-8")
        unfinished.rename(kept)
    answers = json.loads(kept.read_text(encoding="utf-8"))
    return [
        {"prompt": question, "response": answer}
        for question, answer in zip(questions, answers, strict=True)
        if answer
    ]


def _generate(folder: Path, questions: Sequence[str]) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    with bars.silenced():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    answers = [""] * len(questions)
    # Of like length together, so that little is padding.
    order = sorted(range(len(questions)), key=lambda number: len(questions[number]))
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        prompts = [
            tokenizer.apply_chat_template(
                [
                    {"role": "system", "content": SYSTEM_PROMPT},
                    {"role": "user", "content": questions[number]},
                ],
                tokenize=False,
                add_generation_prompt=True,
            )
            for number in numbers
        ]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            made = model.generate(
                **batch,
                max_new_tokens=TOKENS,
                do_sample=False,
                repetition_penalty=1.2,
                pad_token_id=tokenizer.pad_token_id,
            )
        for number, ids in zip(numbers, made[:, batch["input_ids"].shape[1] :], strict=True):
            answers[number] = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return answers

"""Prompts of a task's template."""

import pytest
from lm_eval.utils import apply_template

from safemerge_tasks.suites.prompt_template import fill_in


@pytest.mark.parametrize(
    "template",
    [
        "{{question}}",
        "Q: {{ question }}\nA: <b>{{ category | upper }}</b>\n\n",
        "{{ question | regex_replace('w[a-z]+m', 'cold', 1) }}",
        "{% if category %}{{ category }}: {% endif %}{{ question.strip() }}",
    ],
)
def test_a_prompt_is_what_lm_eval_makes_of_it(template: str) -> None:
    question = {"question": " Is it <warm> & 'warm'? ", "category": "soup"}
    assert fill_in(template, question) == apply_template(template, question)

"""What lm-evaluation-harness sees of safemerge; only this room and the sweep's engines import it.

Tasks' YAML names these classes: `class: !function safemerge_tasks.harness.HarmfulQuestions`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safemerge_tasks.harness.harmful_questions import HarmfulQuestions
    from safemerge_tasks.harness.human_eval import HumanEval
    from safemerge_tasks.harness.reference_answers import ReferenceAnswers
    from safemerge_tasks.harness.suite_task import process_results

__all__ = ["HarmfulQuestions", "HumanEval", "ReferenceAnswers", "process_results"]

_HOMES = {
    "HarmfulQuestions": "harmful_questions",
    "HumanEval": "human_eval",
    "ReferenceAnswers": "reference_answers",
    "process_results": "suite_task",
}


def __getattr__(name: str) -> Any:
    """Import a class when it is asked for: each brings lm-eval and what it alone needs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

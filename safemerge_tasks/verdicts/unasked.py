"""Questions that were never put to the model, because no prompt could be made of them.

What stands where the prompt would says so, since it is kept by every file that holds the response.
"""

from safemerge_tasks.common.errors import brief
from safemerge_tasks.common.unicode import valid_unicode

_MARK = "safemerge: not put to the model, no prompt could be made: "


def unasked(error: Exception) -> str:
    """Return what stands for the prompt that an error was raised for."""
    return f"{_MARK}{valid_unicode(brief(error))}"


def why_unasked(prompt: object) -> str | None:
    """Return why a question was never asked, from what stands for its prompt; None if it was."""
    if not isinstance(prompt, str) or not prompt.startswith(_MARK):
        return None
    return prompt.removeprefix(_MARK)

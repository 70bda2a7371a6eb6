import pytest

from safemerge_tasks.humaneval.extraction import completion, has_block


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("    return 1\n", "    return 1\n"),
        ("Sure:\n```python\ndef f():\n    return 1\n```\nDone.", "def f():\n    return 1\n"),
        ("```python\n    return 1\n```\n```python\n    return 2\n```", "    return 1\n"),
        ("```\nplain\n```\n```python\na = 1\n```", "a = 1\n"),
        ("```python  \r\na = 1\n```", "a = 1\n"),
        ("", ""),
    ],
)
def test_the_first_python_block_else_the_whole_text(response: str, expected: str) -> None:
    assert completion(response) == expected


@pytest.mark.parametrize("response", ["```python\ndef f():", "```py\na = 1\n```", "```\na\n```"])
def test_what_is_no_block_is_taken_as_it_stands(response: str) -> None:
    assert completion(response) == response
    assert not has_block(response)

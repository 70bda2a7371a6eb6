from types import SimpleNamespace

import pytest
from huggingface_hub import errors

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.hub_errors import hub_errors

# What the errors read of a response, httpx's or httpx2's by the version of the Hub's client.
ANSWER = SimpleNamespace(headers={}, request=None)


def wrapped(cause: Exception) -> Exception:
    """Return what `datasets` makes of the Hub's error."""
    error = FileNotFoundError("no data set")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (errors.GatedRepoError("x", response=ANSWER), "bread is gated: knock, or eat cake."),
        (
            wrapped(errors.GatedRepoError("x", response=ANSWER)),
            "bread is gated: knock, or eat cake.",
        ),
        (
            errors.RepositoryNotFoundError("x", response=ANSWER),
            "bread is not on the Hub, or not open to you: correct its id, or eat cake.",
        ),
        (
            errors.HFValidationError("x"),
            "bread is not on the Hub, or not open to you: correct its id, or eat cake.",
        ),
        (
            errors.LocalEntryNotFoundError("x"),
            "bread is not on this machine and the Hub cannot be reached: connect, or eat cake.",
        ),
        (
            errors.OfflineModeIsEnabled("x"),
            "bread is not on this machine and the Hub cannot be reached: connect, or eat cake.",
        ),
        (
            errors.HfHubHTTPError("x", response=ANSWER),
            "bread could not be fetched (HfHubHTTPError): connect, or eat cake.",
        ),
        (
            errors.HTTPError("x"),
            "bread could not be fetched (HTTPError): connect, or eat cake.",
        ),
        (
            PermissionError("x"),
            "bread could not be fetched (PermissionError): connect, or eat cake.",
        ),
    ],
)
def test_every_error_is_one_sentence_with_a_way_out(error: Exception, sentence: str) -> None:
    with (
        pytest.raises(SafemergeError) as raised,
        hub_errors("bread", way_out="or eat cake.", access="knock"),
    ):
        raise error
    assert str(raised.value) == sentence


def test_gated_things_say_how_to_get_in() -> None:
    with (
        pytest.raises(SafemergeError, match="log in with `hf auth login`, or eat cake"),
        hub_errors("bread", way_out="or eat cake."),
    ):
        raise errors.GatedRepoError("x", response=ANSWER)


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(ValueError, match="a bug"), hub_errors("bread", way_out=""):
        raise ValueError("a bug")

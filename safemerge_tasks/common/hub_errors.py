"""The Hugging Face Hub's many errors as one sentence with a way out."""

from collections.abc import Iterator
from contextlib import contextmanager

from safemerge_tasks.common.errors import SafemergeError

LOG_IN = "accept the terms on its Hub page and log in with `hf auth login`"
ABSENT = "is not on the Hub, or not open to you: correct its id"


@contextmanager
def hub_errors(
    what: str, *, way_out: str, absent: str = ABSENT, access: str | None = None
) -> Iterator[None]:
    """Raise the Hub's errors as one sentence.

    Args:
        what: names what was wanted; begins the sentence.
        way_out: ends the sentence; begins with "or".
        absent: what is said where the Hub has no such thing, which it also says of what is private.
        access: how to get access to what is gated; accepting the terms unless given.

    Raises:
        SafemergeError: gated, absent or unreachable.
    """
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    # The HTTP library's error, such as that of a connection, is no OSError.
    except (OSError, ValueError, errors.EntryNotFoundError, HTTPError) as error:
        # `datasets` wraps the Hub's own error, and only that one tells gated from absent.
        causes = [cause for cause in (error, error.__cause__) if cause is not None]

        def caused_by(*kinds: type[BaseException]) -> bool:
            return any(isinstance(cause, kinds) for cause in causes)

        if caused_by(errors.GatedRepoError):
            reason = f"is gated: {access or LOG_IN}"
        elif caused_by(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            reason = "is not on this machine and the Hub cannot be reached: connect"
        elif caused_by(
            errors.RepositoryNotFoundError,
            errors.RevisionNotFoundError,
            errors.EntryNotFoundError,
            errors.HFValidationError,
        ):
            reason = absent
        elif caused_by(OSError, HTTPError):
            reason = f"could not be fetched ({type(error).__name__}): connect"
        else:
            raise
        raise SafemergeError(f"{what} {reason}, {way_out}") from error

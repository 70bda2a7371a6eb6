"""A file at an address that never changes: fetched once, then read from the cache."""

from pathlib import Path
from urllib.parse import urlparse

from safemerge_tasks.common.errors import SafemergeError


def fetch_pinned(url: str, what: str, way_out: str) -> Path:
    """Return the local copy of what stands at `url`.

    Args:
        url: a pinned address, so what was fetched once never has to be asked for again.
        what: names what is wanted; begins the sentence of an error.
        way_out: ends it; begins with "or".

    Raises:
        SafemergeError: it cannot be fetched.
    """
    from datasets import DownloadConfig, DownloadManager

    config = DownloadConfig(use_etag=False)
    try:
        return Path(DownloadManager(dataset_name=what, download_config=config).download(url))
    except (OSError, ValueError) as error:
        raise SafemergeError(
            f"{what} could not be fetched from {urlparse(url).netloc} "
            f"({type(error).__name__}): connect, {way_out}"
        ) from error

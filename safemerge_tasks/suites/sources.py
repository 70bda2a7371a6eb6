"""Where a part of a suite is: the user's data folder, the Hub, or a pinned address."""

import os
from pathlib import Path
from urllib.parse import urlparse

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.suites.spec import Part, SuiteSpec

DATA_DIR = "SAFEMERGE_DATA_DIR"


def locate(spec: SuiteSpec, part: Part) -> Path | None:
    """Return the local path of a part, fetched if need be; None for an absent optional part.

    `SAFEMERGE_DATA_DIR` is looked at first. If any part of the suite is there, the suite is taken
    from there whole: two releases are never mixed.

    Raises:
        SafemergeError: the part cannot be had, with the way out.
    """
    folder = os.environ.get(DATA_DIR)
    if folder:
        root = Path(folder).expanduser() / spec.folder
        present = [other for other in spec.parts if (root / other.file).is_file()]
        if part in present:
            return root / part.file
        if present:
            if part.optional:
                return None
            raise SafemergeError(
                f"{root} has {len(present)} of the {len(spec.parts)} files of {spec.suite} but no "
                f"{part.file}; add it, or remove the others to use the suite's own source."
            )
    return _fetch(spec, part)


def _fetch(spec: SuiteSpec, part: Part) -> Path | None:
    if spec.hub is not None:
        return _from_hub(spec, part)
    if spec.url is not None:
        return _from_url(spec, spec.url.format(file=part.file), part)
    raise SafemergeError(
        f"{spec.suite} has no source of its own: put {Path(spec.folder) / part.file} below a "
        f"folder and name that folder in {DATA_DIR}."
    )


def _way_out(spec: SuiteSpec, part: Part) -> str:
    where = Path(spec.folder) / part.file
    return f"or put the file at $SAFEMERGE_DATA_DIR/{where} (set {DATA_DIR} to that folder)."


def _from_hub(spec: SuiteSpec, part: Part) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    assert spec.hub is not None
    try:
        return Path(
            hf_hub_download(spec.hub, part.file, repo_type="dataset", revision=spec.revision)
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        access = spec.access or "check the data set's page on the Hub"
        raise SafemergeError(
            f"{spec.suite} ({spec.hub}) is not readable for you: {access}, {_way_out(spec, part)}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise SafemergeError(
            f"{spec.suite} ({spec.hub}, {part.file}) is not on this machine and the Hub cannot be "
            f"reached: connect, {_way_out(spec, part)}"
        ) from error
    except EntryNotFoundError as error:
        if part.optional:
            return None
        raise SafemergeError(
            f"{spec.hub} has no {part.file} at revision {spec.revision}: {_way_out(spec, part)}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise SafemergeError(
            f"{spec.suite} could not be fetched from {spec.hub} ({type(error).__name__}): try "
            f"again, {_way_out(spec, part)}"
        ) from error


def _from_url(spec: SuiteSpec, url: str, part: Part) -> Path:
    from datasets import DownloadManager

    try:
        return Path(DownloadManager(dataset_name=spec.suite).download(url))
    except (OSError, ValueError) as error:
        raise SafemergeError(
            f"{spec.suite} could not be fetched from {urlparse(url).netloc} "
            f"({type(error).__name__}): connect, {_way_out(spec, part)}"
        ) from error

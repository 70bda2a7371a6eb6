"""Whether a suite's questions are on this machine; nothing is fetched to find out."""

from pathlib import Path
from typing import Literal

from safemerge_tasks.suites.sources import address_of, local_file
from safemerge_tasks.suites.spec import Part, SuiteSpec

Availability = Literal["local", "cached", "fetched on use", "missing"]


def availability(spec: SuiteSpec) -> Availability:
    """Return where the questions are: given by the user, in a cache, elsewhere, or nowhere."""
    if any(local_file(spec, part) for part in spec.parts):
        return "local"
    if spec.hub is None and spec.url is None:
        return "missing"
    needed = [part for part in spec.parts if not part.optional]
    return "cached" if all(_is_cached(spec, part) for part in needed) else "fetched on use"


def _is_cached(spec: SuiteSpec, part: Part) -> bool:
    if spec.hub is not None and spec.split is not None:
        return _rows_are_cached(spec.hub, spec.revision)
    if spec.hub is not None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            spec.hub, part.file, repo_type="dataset", revision=spec.revision
        )
        return isinstance(found, str)
    assert spec.url is not None
    from datasets import config
    from datasets.utils.file_utils import hash_url_to_filename

    name = hash_url_to_filename(address_of(spec.url, part))
    return Path(config.DOWNLOADED_DATASETS_PATH, name).is_file()


def _rows_are_cached(hub: str, revision: str | None) -> bool:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{hub.replace('/', '--')}" / "snapshots"
    return any((folder / revision if revision else folder).glob("*"))

"""Where a part of a suite is: the user's data folder, the Hub, or a pinned address."""

from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.hub_errors import hub_errors
from safemerge_tasks.common.local_data import DATA_DIR, data_dir
from safemerge_tasks.common.pinned_download import fetch_pinned
from safemerge_tasks.suites.spec import Part, SuiteSpec

EXTENSIONS = (".csv", ".json", ".jsonl", ".parquet")


def locate(spec: SuiteSpec, part: Part) -> Path | None:
    """Return the local path of a part, fetched if need be; None for an absent optional part.

    `SAFEMERGE_DATA_DIR` is looked at first. If any part of the suite is there, the suite is taken
    from there whole: two releases are never mixed.

    Raises:
        SafemergeError: the part cannot be had, with the way out.
    """
    here = local_file(spec, part)
    if here is not None:
        return here
    present = [other for other in spec.parts if local_file(spec, other)]
    if present:
        if part.optional:
            return None
        raise SafemergeError(
            f"{_root(spec)} has {len(present)} of the {len(spec.parts)} files of {spec.suite} but "
            f"no {part.file}; add it, or remove the others to use the suite's own source."
        )
    return _fetch(spec, part)


def local_file(spec: SuiteSpec, part: Part) -> Path | None:
    """Return a part's file on this machine, without fetching: named in full, or in the data folder.

    In the data folder any of the formats will do: `name.jsonl` in place of `name.json`.
    """
    named = Path(part.file).expanduser()
    if named.is_absolute() and named.is_file():
        return named
    root = _root(spec)
    if root is None:
        return None
    for name in (Path(named.name) if named.is_absolute() else named, *map(Path, part.also)):
        path = root / name
        for candidate in (path, *_other_formats(spec, path)):
            if candidate.is_file():
                return candidate
    return None


def is_published(spec: SuiteSpec, part: Part) -> bool:
    """Return whether a part is the file of its own name, not one of its `also`."""
    here = local_file(spec, part)
    return here is None or here.stem == Path(part.file).stem


def address_of(url: str, part: Part) -> str:
    """Return the address that a suite's `url` gives for a part."""
    return url.format(file=part.file)


def way_out(spec: SuiteSpec, part: Part) -> str:
    """Return the end of an error sentence: how to do without the network."""
    where = Path(spec.folder) / Path(part.file).name
    return f"or put the file at ${DATA_DIR}/{where} (set {DATA_DIR} to that folder)."


def _root(spec: SuiteSpec) -> Path | None:
    folder = data_dir()
    return folder / spec.folder if folder else None


def _other_formats(spec: SuiteSpec, path: Path) -> list[Path]:
    # Without a header row there is no column name that another format could use.
    if spec.format is not None or not spec.header:
        return []
    return [path.with_suffix(extension) for extension in EXTENSIONS]


def _fetch(spec: SuiteSpec, part: Part) -> Path | None:
    if spec.hub is not None:
        return _from_hub(spec, part)
    if spec.url is not None:
        return fetch_pinned(address_of(spec.url, part), spec.suite, way_out(spec, part))
    if Path(part.file).expanduser().is_absolute():
        raise SafemergeError(
            f"{part.file}, the questions of {spec.suite}, does not exist: correct `file` in the "
            f"suite's YAML, {way_out(spec, part)}"
        )
    raise SafemergeError(
        f"{spec.suite} has no source of its own: put {Path(spec.folder) / part.file} below a "
        f"folder and name that folder in {DATA_DIR}."
    )


def _from_hub(spec: SuiteSpec, part: Part) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    assert spec.hub is not None
    with hub_errors(
        f"{spec.suite} ({spec.hub}, {part.file})",
        access=spec.access,
        absent=f"is not on the Hub, or not open to you: {spec.access or 'check its Hub page'}",
        way_out=way_out(spec, part),
    ):
        try:
            path = hf_hub_download(spec.hub, part.file, repo_type="dataset", revision=spec.revision)
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            if part.optional:
                return None
            raise
    return Path(path)

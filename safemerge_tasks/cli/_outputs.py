"""Files that a command is to write: none over another, none over what it reads."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError


def refuse_overwriting(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse outputs of which one would be lost, or an input.

    Args:
        outputs: option → file.
        inputs: files, and folders of lm-eval's, which stand for all results in them.

    Raises:
        SafemergeError: names both, or says what `-` is.
    """
    # Devices and pipes lose nothing.
    if any(str(path) == "-" for path in outputs.values()):
        raise SafemergeError("- is no file here; give /dev/stdout for what is to be printed.")
    given = {
        f"{option} {path}".strip(): path.resolve()
        for option, path in outputs.items()
        if path and not (path.exists() and not path.is_file()) and path.parts[:2] != ("/", "dev")
    }
    taken = _files(inputs) if any(path.exists() for path in given.values()) else {}
    for said, path in given.items():
        if path in taken:
            raise SafemergeError(f"{said} would write over {taken[path]}; name another file.")
        taken[path] = said


def _files(inputs: Iterable[Path | None]) -> dict[Path, str]:
    from safemerge_tasks.results import find_runs

    found = [place for place in inputs if place]
    for place in [place for place in found if place.is_dir()]:
        with suppress(SafemergeError):  # who reads it says what is wrong
            runs = find_runs(place)
            found += [file for run in runs for file in (run.path, *run.samples.values())]
    return {path.resolve(): str(path) for path in found}

"""What merging complains about, in the words of a sweep's file instead of a command line's."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merge.errors import MergeError
from safemerge_tasks.common.errors import SafemergeError

_KEYS = {
    "--allow-nonfinite": "merge.allow_nonfinite",
    "--base": "base",
    "--density": "density",
    "--drop-rate": "drop_rate",
    "--dtype": "merge.dtype",
    "--gamma": "gamma",
    "--lambda": "lambda",
    "--out": "--store",
    "--tuned": "models",
    "--vocabulary": "merge.vocabulary",
}
_FLAG = re.compile(r"--[a-z][a-z-]*")
_PARAMETER = re.compile(r"--set ([a-z][a-z0-9-]*)=…")


def in_sweep_words(error: Exception) -> str:
    """Return a merge's error with flags of `safemerge merge` replaced by a sweep's keys."""
    from merge.methods import known_roles

    keys = _KEYS | {role.flag: role.name for role in known_roles().values()}
    text = _PARAMETER.sub(lambda found: found[1].replace("-", "_"), str(error))
    return _FLAG.sub(lambda flag: keys.get(flag[0], flag[0]), text)


@contextmanager
def merge_errors(where: str = "", words: Callable[[Exception], str] = str) -> Iterator[None]:
    """Raise a merge's error as a SafemergeError, in some words behind the place where it was."""
    try:
        yield
    except MergeError as error:
        raise SafemergeError(f"{where}{words(error)}") from error

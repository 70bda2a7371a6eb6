"""What merging complains about, in the words of a sweep's file instead of a command line's."""

import re

_KEYS = {
    "--allow-nonfinite": "merge.allow_nonfinite",
    "--aligned": "base",
    "--base": "base",
    "--dtype": "merge.dtype",
    "--lambda": "lambda",
    "--out": "--store",
    "--tuned": "models",
    "--unaligned": "unaligned",
    "--vocabulary": "merge.vocabulary",
}
_FLAG = re.compile(r"--[a-z][a-z-]*")


def in_sweep_words(error: Exception) -> str:
    """Return a merge's error with flags of `safemerge merge` replaced by a sweep's keys."""
    return _FLAG.sub(lambda flag: _KEYS.get(flag[0], flag[0]), str(error))

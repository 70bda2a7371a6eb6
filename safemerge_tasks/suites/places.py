"""Where the packaged task files lie, and whether lm-eval sees them."""

from importlib.util import find_spec
from pathlib import Path

_WHERE_LM_EVAL_LOOKS = Path("lm_eval/tasks/safemerge")


def packaged_folder() -> Path:
    """Return the folder of the packaged task files, inside this package.

    The copy in `lm_eval/tasks` is for the plain `lm_eval` command. An lm-eval that is installed
    editable looks into its own checkout, not into the folder of its name beside this package.
    """
    return (Path(__file__).parents[1] / "task_configs").resolve()


def lm_eval_folder() -> Path | None:
    """Return the folder in which the lm-eval of this environment would find them; None without."""
    found = find_spec("lm_eval")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parents[1] / _WHERE_LM_EVAL_LOOKS


def seen_by_lm_eval() -> bool:
    """Return whether the lm-eval of this environment finds the packaged tasks by itself."""
    folder = lm_eval_folder()
    return folder is not None and folder.is_dir()

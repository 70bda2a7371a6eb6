"""Where figures of comparisons and models are kept besides our own files: one file a tracker.

A file `name.py` here has `send(records)`, through the client package of that name.
"""

import pkgutil
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.report.tracking._record import Record, of_gate, of_model

__all__ = ["PROJECT", "Record", "of_gate", "of_model", "tracker"]

PROJECT = "safemerge"
"""Under which records are kept, where a client's own settings name nothing else."""


def tracker(name: str) -> Callable[[Sequence[Record]], None]:
    """Return what sends records to a tracker.

    Raises:
        SafemergeError: there is no such tracker, or its client is not installed. What is returned
            raises it for whatever the client fails with.
    """
    known = [one.name for one in pkgutil.iter_modules(__path__) if not one.name.startswith("_")]
    if name not in known:
        raise SafemergeError(f"--tracking {name} is not known; known are {', '.join(known)}.")
    if find_spec(name) is None:
        raise SafemergeError(
            f"--tracking {name} needs the package {name}; pip install 'safemerge[{name}]'."
        )

    def send(records: Sequence[Record]) -> None:
        try:
            import_module(f"{__name__}.{name}").send(records)
        # A client may raise anything, above all without its server.
        except Exception as error:
            raise SafemergeError(
                f"--tracking {name} failed ({brief(error)}); all else was written, so see to the "
                "client's settings or leave it out."
            ) from error

    return send

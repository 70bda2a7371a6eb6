"""Supervised fine-tuning with peft and TRL, in the papers' settings or one's own."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safemerge_tasks.finetune.config import FinetuneConfig, load_config
    from safemerge_tasks.finetune.fingerprint import identity
    from safemerge_tasks.finetune.outlook import Outlook, check
    from safemerge_tasks.finetune.run import finetune

__all__ = ["FinetuneConfig", "Outlook", "check", "finetune", "identity", "load_config"]

_HOME = {
    "FinetuneConfig": "config",
    "load_config": "config",
    "identity": "fingerprint",
    "Outlook": "outlook",
    "check": "outlook",
    "finetune": "run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: `safemerge --help` does not wait for pydantic."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

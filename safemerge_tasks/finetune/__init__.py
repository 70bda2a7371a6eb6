"""Supervised fine-tuning with peft and TRL, in the papers' settings or one's own."""

from safemerge_tasks.finetune.config import FinetuneConfig, load_config
from safemerge_tasks.finetune.identity import identity
from safemerge_tasks.finetune.outlook import Outlook, check
from safemerge_tasks.finetune.run import finetune

__all__ = ["FinetuneConfig", "Outlook", "check", "finetune", "identity", "load_config"]

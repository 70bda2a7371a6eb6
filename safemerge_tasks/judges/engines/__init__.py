"""Engines that run a judge's language model; each takes token ids and returns text."""

from safemerge_tasks.judges.engines.base import Completion, Engine, NextToken, open_engine

__all__ = ["Completion", "Engine", "NextToken", "open_engine"]

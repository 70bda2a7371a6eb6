"""Engines that run a judge's language model; each takes token ids and returns text."""

from safemerge_tasks.judges.engines.base import Answer, Engine, open_engine

__all__ = ["Answer", "Engine", "open_engine"]

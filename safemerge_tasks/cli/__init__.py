"""The `safemerge` command: every file here without a leading underscore is one command."""

from safemerge_tasks.cli._program import app, main

__all__ = ["app", "main"]

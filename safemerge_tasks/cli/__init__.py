"""The `safemerge` command: every file here without a leading underscore is one command."""

from safemerge_tasks.common.own_merge import import_own_merge

import_own_merge()

from safemerge_tasks.cli._program import app, main  # noqa: E402 (it imports merge)

__all__ = ["app", "main"]

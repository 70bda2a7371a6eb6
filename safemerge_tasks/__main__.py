"""`python -m safemerge_tasks` is `safemerge`."""

from safemerge_tasks.cli import main

main()

"""The papers' whole experiment: a grid of variants as a graph of keyed steps, run and reported."""

from safemerge_tasks.common.own_merge import import_own_merge

import_own_merge()

"""The toy model family, and the whole story told with it."""

from safemerge_tasks.common.own_merge import import_own_merge

import_own_merge()

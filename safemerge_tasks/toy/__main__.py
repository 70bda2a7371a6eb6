"""`python -m safemerge_tasks.toy` trains the family, unless the cache holds it."""

import sys

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.family import toy_family

if __name__ == "__main__":
    try:
        print(toy_family(lambda line: print(line, flush=True)).folder)
    except SafemergeError as error:
        sys.exit(f"safemerge: {error}")

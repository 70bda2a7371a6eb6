"""Keeping freed blocks for reuse.

A merge frees and allocates megabytes thousands of times a second. By default glibc gives each back
to the kernel, which then clears and maps new pages for the next: more work than the arithmetic.
"""

import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 64 * 2**20


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of freed memory per thread; other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)

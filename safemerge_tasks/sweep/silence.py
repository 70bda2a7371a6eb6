"""Imported by the fork server before all else: what imports print belongs to no job."""

import os

_nothing = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nothing, 1)
os.dup2(_nothing, 2)
os.close(_nothing)

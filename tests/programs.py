"""Programs in Python, for tests to put where a command looks."""

import shlex
import sys


def first_lines(*flags: str) -> str:
    """Return how a program begins; the kernel ends the name after `#!` at a space or soon."""
    python = shlex.join([sys.executable, *flags])
    return f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n"

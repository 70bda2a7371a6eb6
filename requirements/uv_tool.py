"""uv, which resolves versions for other Pythons and machines than this one.

It is installed on first use, in an environment of its own.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

PINNED = "uv==0.13.9"
_ENVIRONMENT = Path(__file__).resolve().parent.parent / ".venv-uv"


def uv(*words: str | Path, local_wheels: bool = True) -> None:
    """Run uv with pip's settings for certificates and, unless told, its folders of wheels.

    Raises:
        SystemExit: it failed, and has said why.
    """
    tool = _ENVIRONMENT / "bin" / "uv"
    if not tool.exists():
        venv.create(_ENVIRONMENT, with_pip=True)
        python = _ENVIRONMENT / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", PINNED], check=True)
    environment = dict(os.environ)
    for ours, pips in (("SSL_CERT_FILE", "PIP_CERT"), ("UV_FIND_LINKS", "PIP_FIND_LINKS")):
        if pips in environment and (local_wheels or ours != "UV_FIND_LINKS"):
            environment.setdefault(ours, environment[pips])
    done = subprocess.run([str(tool), *map(str, words)], check=False, env=environment)
    if done.returncode:
        sys.exit(f"uv {' '.join(map(str, words[:2]))} ended with status {done.returncode}.")

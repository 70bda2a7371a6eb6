"""A worker whose work is code; imported by the fork server it takes the real one's place."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from safemerge_tasks.sweep import worker


def run_and_exit(job: Path) -> None:
    """Run the code of a job's first step; the real worker's way to end with its starter is kept."""
    threading.Thread(target=worker._end_with_starter, daemon=True).start()
    known = {"json": json, "os": os, "subprocess": subprocess, "sys": sys, "time": time}
    exec(json.loads(job.read_text())["steps"][0]["work"]["code"], known)


worker.run_and_exit = run_and_exit  # type: ignore[assignment]  # it returns

"""lm-eval's command line, run in a process of its own with judging put off."""

import subprocess
import sys
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.places import packaged_folder, seen_by_lm_eval


def run_lm_eval(arguments: list[str]) -> None:
    """Run `lm_eval`, with what its own defaults lack: the packaged tasks, vLLM's batches.

    Raises:
        SafemergeError: it failed.
    """
    given = {word.partition("=")[0] for word in arguments}
    added = []
    if "--include_path" not in given and not seen_by_lm_eval():
        added += ["--include_path", str(packaged_folder())]
    if "vllm" in arguments and given.isdisjoint({"--batch_size", "-b"}):
        # lm-eval's default of 1 would give vLLM one request at a time.
        added += ["--batch_size", "auto"]
    ran = subprocess.run([sys.executable, "-m", "lm_eval", *arguments, *added], check=False)
    if ran.returncode != 0:
        raise SafemergeError(f"lm_eval ended with status {ran.returncode}; see its output above.")


def split_arguments(arguments: list[str]) -> tuple[list[str], dict[str, str], Path]:
    """Return lm_eval's arguments with judging deferred, the judge's settings, the output folder.

    Raises:
        SafemergeError: no --output_path, without which there is nothing to judge.
    """
    rest: list[str] = []
    judging: dict[str, str] = {}
    output: str | None = None
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        name, equals, inline = word.partition("=")
        if name == "--metadata":
            values = [inline] if equals else []
            while not equals and pending and not pending[0].startswith("-"):
                values.append(pending.pop(0))
            others = _take_judging(values, judging)
            if others:
                rest += ["--metadata", ",".join(others)]
            continue
        if name in ("--output_path", "-o"):
            output = inline if equals else (pending[0] if pending else None)
        rest.append(word)
    if not output:
        raise SafemergeError("safemerge eval needs --output_path DIR, where responses are saved.")
    if "--log_samples" not in rest and "-s" not in rest:
        rest.append("--log_samples")
    return _with_metadata(rest, "judge=deferred"), judging, Path(output)


def _take_judging(values: list[str], judging: dict[str, str]) -> list[str]:
    others = []
    for pair in (pair for value in values for pair in value.split(",") if pair):
        key, _, text = pair.partition("=")
        if key == "judge" or key.startswith("judge_"):
            judging[key] = text
        else:
            others.append(pair)
    return others


def _with_metadata(arguments: list[str], pair: str) -> list[str]:
    if "--metadata" in arguments:
        place = arguments.index("--metadata") + 1
        return [*arguments[:place], f"{arguments[place]},{pair}", *arguments[place + 1 :]]
    return [*arguments, "--metadata", pair]

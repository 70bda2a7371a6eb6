"""lm-eval's command line, run in a process of its own with judging put off.

lm-eval's own parser reads its arguments, `--config` included, here to learn of the judge and the
place of the results before anything slow, and again in that process.
"""

import os
import signal
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval._cli import HarnessCLI
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.utils import simple_parse_args_string

from safemerge_tasks.attacks.names import BETWEEN, PLAIN
from safemerge_tasks.common.child_process import run_child
from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.common.validation import nearest
from safemerge_tasks.harness.telling import Listener, hear
from safemerge_tasks.suites.places import packaged_folder, seen_by_lm_eval
from safemerge_tasks.suites.task_files import task_files

_WITH_WEIGHTS = ("vllm", "hf")
"""Models of lm-eval whose arguments call the model `pretrained`; endpoints call it `model`."""

_LAST_WORDS = 5.0
"""Seconds in which what it told before it ended is heard."""

_WHY_ENDED = {"SIGKILL": ", which is how the kernel ends what takes too much memory"}


class Asked(NamedTuple):
    """What lm_eval's arguments ask for.

    Attributes:
        lm_eval: lm-eval's arguments, with judging put off.
        judging: the judge's settings among its metadata.
        output: where it writes: a folder, or the `x.json` that it makes `x_<date>.json` of.
    """

    lm_eval: Namespace
    judging: dict[str, Any]
    output: Path


def read_arguments(words: Sequence[str]) -> Asked:
    """Let lm-eval's parser read its arguments; wrong ones end the process with its own words.

    Added is what lm-eval's defaults lack: samples, the packaged tasks, vLLM's batches.

    Raises:
        SafemergeError: they ask for no evaluation, or name no place for its results.
    """
    arguments = _parsed(words)
    if arguments.command != "run":
        raise SafemergeError(
            "safemerge eval takes the arguments of an evaluation, such as --tasks; run lm_eval "
            "itself for anything else."
        )
    given = {**_config(arguments.config), **{k: v for k, v in vars(arguments).items() if v}}
    if not given.get("output_path"):
        raise SafemergeError("safemerge eval needs --output_path DIR, where responses are saved.")
    metadata = given.get("metadata") or {}
    if isinstance(metadata, str):  # of a --config
        metadata = simple_parse_args_string(metadata)
    judging = {key: metadata[key] for key in metadata if key.partition("_")[0] == "judge"}
    others = {key: value for key, value in metadata.items() if key not in judging}
    arguments.metadata = {**others, "judge": "deferred"}
    arguments.log_samples = True
    if not given.get("include_path") and not seen_by_lm_eval():
        arguments.include_path = str(packaged_folder())
    if given.get("model") == "vllm" and "batch_size" not in given:
        # lm-eval's default of 1 would give vLLM one request at a time.
        arguments.batch_size = "auto"
    return Asked(arguments, judging, Path(given["output_path"]))


def attack_arguments(
    model: str,
    suite: str,
    attacks: Sequence[str],
    output: Path,
    *,
    backend: str,
    model_args: str,
    include_path: Path | None,
    limit: int | None,
    batch_size: str | None,
    chat_template: bool,
    metadata: Mapping[str, str],
) -> list[str]:
    """Return lm_eval's arguments for one model and a suite under several attacks, in one engine.

    Args:
        model: folder, Hub id, or an endpoint's name of it.
        suite: a task's name, or that of its suite.
        attacks: as users spell them.
        output: lm-eval's --output_path.
        backend: lm-eval's --model.
        model_args: lm-eval's, but for the model.
        include_path: the folder of the user's suites.
        limit: questions.
        batch_size: lm-eval's.
        chat_template: apply it.
        metadata: lm-eval's.

    Raises:
        SafemergeError: there is no such suite, or lm-eval would read a value as another.
    """
    task = _task_of(suite, include_path)
    key = "pretrained" if backend in _WITH_WEIGHTS else "model"
    given = [f"{key}={model}", *(part for part in model_args.split(",") if part)]
    for name, value in ((key, model), *metadata.items()):
        _refuse_misread(name, value, text=name == key)
    if backend == "vllm" and "enable_prefix_caching" not in model_args:
        given.append("enable_prefix_caching=True")  # attacks share prompts
    names = [task if one == PLAIN else f"{task}{BETWEEN}{one}" for one in attacks]
    words = ["--model", backend, "--model_args", ",".join(given), "--tasks", ",".join(names)]
    options = {
        "--include_path": include_path,
        "--limit": limit,
        "--batch_size": batch_size,
        "--metadata": ",".join(f"{name}={value}" for name, value in metadata.items()) or None,
        "--output_path": output,
    }
    words += [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    return [*words, "--apply_chat_template"] if chat_template else words


def _task_of(suite: str, include_path: Path | None) -> str:
    """Return the task or group that a name, or the name of its suite, stands for.

    Raises:
        SafemergeError: there is none.
    """
    known = {file.name for file in task_files(include_path) if file.error is None}
    for name in (suite, f"{suite}_asr"):
        if name in known:
            return name
    near = nearest(f"{suite}_asr", sorted(known))
    hint = f"; did you mean {near}?" if near else "; `safemerge suite list` lists them."
    raise SafemergeError(f"--suite {suite}: there is no such suite{hint}")


def _refuse_misread(name: str, value: str, *, text: bool) -> None:
    """Refuse what lm-eval makes another text of, or anything but a text of what has to be one."""
    read = simple_parse_args_string(f"{name}={value}")
    same = read.keys() == {name} and str(read[name]) == value
    if same or (not text and len(read) == 1 and not isinstance(read[name], str)):
        return
    raise SafemergeError(
        f"{name}={value} is read by lm-eval as {read}; give it another name, such as that of a "
        "link, without commas, quotes and spaces around it."
    )


def folder_of(output: Path) -> Path:
    """Return the folder in which lm-eval writes, for its --output_path."""
    return output.parent if output.suffix == ".json" else output


def check_output(output: Path) -> None:
    """Find out before the evaluation whether its results can be written.

    Raises:
        SafemergeError: they cannot.
    """
    folder = folder_of(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SafemergeError(
            f"--output_path {output} cannot be written ({error.strerror}); name another."
        ) from error


def run_lm_eval(words: Sequence[str], listener: Listener, output: int) -> None:
    """Run lm_eval on its arguments, with judging put off; it ends when this process is ended.

    Args:
        words: its arguments.
        listener: is told how far it is, and of warnings and errors.
        output: the descriptor that it and its libraries print to.

    Raises:
        SafemergeError: it failed.
    """
    heard, told = os.pipe()
    hearing = threading.Thread(target=hear, args=(heard, listener), daemon=True)
    hearing.start()
    # -P: a file of the working folder must not stand for a module of the same name.
    command = [sys.executable, "-P", "-m", "safemerge_tasks.harness.put_off", str(told), *words]
    try:
        status = run_child(command, output=output, kept=(told,))
    finally:
        os.close(told)
        # What an engine has forked, and left behind, may still hold the other end.
        hearing.join(_LAST_WORDS)
    if status < 0:
        name = signal.Signals(-status).name
        raise SafemergeError(f"lm_eval was ended by {name}{_WHY_ENDED.get(name, '')}.")
    if status:
        raise SafemergeError(f"lm_eval ended with status {status}.")


def _parsed(words: Sequence[str]) -> Namespace:
    before = sys.argv
    sys.argv = ["lm_eval", *words]  # all that lm-eval's parser looks at
    try:
        arguments: Namespace = HarnessCLI().parse_args()
    except ValueError as error:  # of a JSON argument
        raise SafemergeError(f"lm_eval's arguments: {one_line(error, 200)}") from error
    finally:
        sys.argv = before
    return arguments


def _config(path: str | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        found: dict[str, Any] = EvaluatorConfig.load_yaml_config(path)
    except (OSError, ValueError, TypeError) as error:
        raise SafemergeError(f"--config {path} cannot be read: {one_line(error, 200)}.") from error
    return found

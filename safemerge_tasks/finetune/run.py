"""One fine-tuning from configuration to finished folder, resumable at any moment."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.only_one import only_one
from safemerge_tasks.finetune.base import Base, need_trl
from safemerge_tasks.finetune.checkpoints import (
    last_complete,
    remove_all,
    remove_incomplete,
    step_of,
)
from safemerge_tasks.finetune.config import FinetuneConfig
from safemerge_tasks.finetune.data import load_data
from safemerge_tasks.finetune.encoded import encode_data
from safemerge_tasks.finetune.fingerprint import identity
from safemerge_tasks.finetune.output import Made, is_finished, write_output
from safemerge_tasks.finetune.steps import steps_of

_log = logging.getLogger(__name__)

_RUN = "run.json"


def finetune(
    config: FinetuneConfig,
    seed: int,
    out: Path,
    *,
    work: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    base_name: str | None = None,
) -> Path:
    """Fine-tune with one seed; return `out`.

    A run that was killed continues from its last complete checkpoint and ends with the bits of an
    undisturbed one on the same machine. A finished folder is returned as it is. Under `accelerate
    launch` all processes call this together.

    Args:
        config: what to train.
        seed: one seed, not necessarily of `config.seeds`.
        out: an adapter's or, for full tuning, a checkpoint's folder; appears when it is complete.
        work: where checkpoints live between kills, removed at the end; beside `out` unless given.
        progress: called with finished steps and all of them.
        base_name: what an adapter calls its base, where the base is to be moved afterwards.

    Raises:
        SafemergeError: bad input, or `out` holds something else.
    """
    need_trl()
    base = Base.of(config)
    made = Made(identity(config, seed), base.identity())
    with _machine(config) as processes:
        if is_finished(out, made):
            _log.info("%s is finished already.", out)
            return out
        place = work or out.absolute().parent / f".{out.name}.training"
        with _held(place, processes):
            # Another run may have finished it meanwhile.
            if is_finished(out, made):
                shutil.rmtree(place, ignore_errors=True)
                return out
            if processes.is_main_process:
                _make_room(place, made)
            processes.wait_for_everyone()
            _train(config, seed, base, base_name, out, place, made, progress, processes)
            processes.wait_for_everyone()
    return out


def _train(
    config: FinetuneConfig,
    seed: int,
    base: Base,
    base_name: str | None,
    out: Path,
    work: Path,
    made: Made,
    progress: Callable[[int, int], None] | None,
    processes: Any,
) -> None:
    from safemerge_tasks.finetune.training import train, uses_bfloat16

    started = time.monotonic()
    data, rows = load_data(config, seed), encode_data(config, seed, base)
    steps = steps_of(config, len(rows.train))
    done = last_complete(work)
    if done is None or step_of(done) < steps.last:
        train(config, seed, base, rows, steps, work, done, progress or _ignore)
    # Nobody looks for checkpoints once the first process begins to remove them.
    processes.wait_for_everyone()
    if processes.is_main_process:
        done = last_complete(work)
        assert done is not None
        circumstances = {
            "schedule_steps": steps.schedule,
            "rows": len(rows.train),
            "validation_rows": len(rows.validation),
            "rows_cut": rows.cut,
            "rows_left_out": rows.dropped + data.left_out,
            "system_prompt": rows.system_prompt,
            "processes": processes.num_processes,
            "device": str(processes.device),
            "computed_in": "bfloat16" if uses_bfloat16(config) else "float32",
            # Of the last run alone, where several were needed.
            "seconds": round(time.monotonic() - started, 1),
        }
        write_output(out, done, config, base, base_name, made, circumstances)
        shutil.rmtree(work)


def _make_room(work: Path, made: Made) -> None:
    """Keep what an equal run left in the working folder, and remove what another one did."""
    mine = json.dumps({"identity": made.identity, "base": made.base}, sort_keys=True)
    record = work / _RUN
    if record.is_file() and record.read_text(encoding="utf-8") == mine:
        remove_incomplete(work)
        return
    remove_all(work)
    record.write_text(mine, encoding="utf-8")


@contextmanager
def _held(work: Path, processes: Any) -> Iterator[None]:
    """Keep a second run out of the working folder.

    Raises:
        SafemergeError: another run has it.
    """
    if not processes.is_main_process:
        yield
        return
    busy = f"Another run is fine-tuning into {work} now; wait for it or choose another --out."
    with ExitStack() as stack:
        try:
            stack.enter_context(only_one(work / "lock", busy))
        except OSError as error:
            raise SafemergeError(
                f"{work} cannot be written ({error.strerror}); choose another --out."
            ) from error
        yield


@contextmanager
def _machine(config: FinetuneConfig) -> Iterator[Any]:
    """Give accelerate's view of the processes; threads and bars are set for the time being.

    Raises:
        SafemergeError: the launcher was told to shard the model.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import DistributedType
    from transformers.utils import logging as transformers_logging

    processes = PartialState(cpu=config.device == "cpu")
    plain = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if processes.distributed_type not in plain:
        raise SafemergeError(
            f"accelerate's {processes.distributed_type.value} is not supported: launch with "
            "--multi_gpu, which gives every GPU a whole model."
        )
    before, bars = torch.get_num_threads(), transformers_logging.is_progress_bar_enabled()
    # One for every file read and written, beside our own.
    transformers_logging.disable_progress_bar()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        yield processes
    finally:
        torch.set_num_threads(before)
        if bars:
            transformers_logging.enable_progress_bar()


def _ignore(_done: int, _all: int) -> None:
    """Tell nobody."""

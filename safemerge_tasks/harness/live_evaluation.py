"""The lm-eval run that is going on around a task, which lm-eval shows to no filter.

A judge must know where results will be saved and must free the model under test. lm-eval passes
neither to a task, so they are read from its call frames; outside lm-eval there is nothing to find,
nor in a version whose functions look otherwise, which is said when a task is built.
"""

import inspect
import logging
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import dropwhile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, ClassVar, Self

from safemerge_tasks.harness.model_under_test import free

_log = logging.getLogger(__name__)

_GENERATION_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


_READ = {
    "evaluate": frozenset({"eval_results_acc", "lm", "log_samples"}),
    "simple_evaluate": frozenset({"evaluation_tracker", "model", "model_args"}),
}
"""Function of `lm_eval.evaluator` → the variables of it that are read here."""


def check_lm_eval() -> None:
    """Warn, before anything is generated, where lm-eval's evaluation cannot be looked into."""
    from lm_eval import evaluator

    for name, read in _READ.items():
        function: Any = inspect.unwrap(getattr(evaluator, name, lambda: None))
        code: CodeType = function.__code__
        lacking = read - {*code.co_varnames, *code.co_cellvars}
        if lacking:
            _warn_unknown(name, ", ".join(sorted(lacking)))


def token_limit(settings: Mapping[str, Any]) -> int | None:
    """Return how many tokens generation settings allow a response; None if they do not say."""
    return next((int(settings[key]) for key in _GENERATION_LIMITS if key in settings), None)


def under_command_line() -> bool:
    """Return whether lm-eval's own command line is running, so that exiting is the way to fail."""
    return _frame("lm_eval._cli", None) is not None


@dataclass
class LiveEvaluation:
    """One call of lm-eval's `evaluate`.

    Attributes:
        lm: the model under test, unwrapped from lm-eval's cache.
        tasks: name → task, in lm-eval's order; each task holds its instances and responses.
        owns_model: lm-eval built the model itself, so nobody else needs it after generation.
        output_folder: where lm-eval will save the results; None if it will not.
        log_samples: lm-eval will save the samples as well.
        model: lm-eval's model and model_args, as it saves them.
        started: when this run was first looked at, for file names.
        saved: where the responses were saved before judging.
        saving_failed: that was tried in vain.
        judged: task → what its judges said, of tasks that were judged along with an earlier one.
    """

    lm: Any
    tasks: dict[str, Any]
    owns_model: bool
    output_folder: Path | None
    log_samples: bool
    model: dict[str, Any]
    tracker: Any = None
    started: str = field(default_factory=lambda: datetime.now().isoformat().replace(":", "-"))
    saved: Path | None = None
    saving_failed: bool = False
    judged: dict[Any, Any] = field(default_factory=dict)
    _accumulators: Any = None
    _released: bool = False
    _truncated: dict[tuple[int, int], bool | None] = field(default_factory=dict)

    put_off: ClassVar[bool] = False
    """The process that started this one judges when lm-eval is done."""

    _current: ClassVar["Callable[[], LiveEvaluation | None]"] = staticmethod(lambda: None)

    @classmethod
    def find(cls) -> Self | None:
        """Return the evaluation around the caller, the same object for all of its tasks."""
        inner = _frame("lm_eval.evaluator", "evaluate")
        if inner is None or not _READ["evaluate"].issubset(inner.f_locals):
            return None
        accumulators = inner.f_locals["eval_results_acc"]
        # The dictionary itself is kept, since a freed one's id can be another evaluation's.
        found = cls._current()
        if found is None or found._accumulators is not accumulators:
            found = cls._from_frames(inner, accumulators)
            # It lives as long as lm-eval's tasks: a model of the caller's must not stay for it.
            cls._current = weakref.ref(found)
            for task in found.tasks.values():
                task.live_evaluation = found
        return found  # type: ignore[return-value]

    @classmethod
    def _from_frames(cls, inner: FrameType, accumulators: dict[str, Any]) -> Self:
        lm = inner.f_locals["lm"]
        outer = _frame("lm_eval.evaluator", "simple_evaluate")
        settings = outer.f_locals if outer else {}
        tracker = settings.get("evaluation_tracker")
        return cls(
            lm=getattr(lm, "lm", lm),
            tasks={name: entry["task"] for name, entry in accumulators.items()},
            owns_model=isinstance(settings.get("model"), str),
            output_folder=_output_folder(tracker),
            log_samples=bool(inner.f_locals["log_samples"]) and outer is not None,
            model={"model": str(settings.get("model")), "model_args": settings.get("model_args")},
            tracker=tracker,
            _accumulators=accumulators,
        )

    @property
    def several_processes(self) -> bool:
        """Whether the model under test is spread over several lm-eval processes."""
        return int(getattr(self.lm, "world_size", 1) or 1) > 1

    @property
    def replays(self) -> Path | None:
        """The file of the responses, where the model under test only gives what is saved there."""
        path: Path | None = getattr(self.lm, "replays", None)
        return path

    @property
    def judged_later(self) -> bool:
        """Whether that nothing is judged here is meant."""
        return self.put_off or self.replays is not None

    def after(self, task: Any) -> Iterator[Any]:
        """Return the tasks that are scored after one."""
        rest = dropwhile(lambda one: one is not task, self.tasks.values())
        next(rest, None)
        return rest

    def ask_vllm_in_batches(self) -> None:
        """Raise a batch size of 1, which is lm-eval's default, to all requests at once.

        vLLM schedules requests itself; one at a time leaves most of the hardware idle.
        """
        module = sys.modules.get("lm_eval.models.vllm_causallms")
        if module is None or not isinstance(self.lm, module.VLLM) or self.lm.batch_size != 1:
            return
        self.lm.batch_size = "auto"
        _log.warning(
            "--batch_size 1, lm-eval's default, would give vLLM one request at a time: raised to "
            "auto; --metadata keep_batch_size=true leaves it."
        )

    def truncated(self, instance: Any, index: int = 0) -> bool | None:
        """Return whether a response reached its token limit, or None where that is not known.

        The response is tokenised again, because lm-eval passes on no finish reason; once, though
        both the saved copy and the scores ask.

        Args:
            instance: the request.
            index: which of its responses.
        """
        key = (id(instance), index)
        if key not in self._truncated:
            self._truncated[key] = self._reaches_limit(instance, index)
        return self._truncated[key]

    def _reaches_limit(self, instance: Any, index: int) -> bool | None:
        try:
            limit = token_limit(instance.args[1])
            # A property that loads it, in some models.
            if limit is None or getattr(self.lm, "tokenizer", None) is None:
                return None
            if not hasattr(self.lm, "tok_encode"):
                return None
            tokens = self.lm.tok_encode(instance.resps[index], add_special_tokens=False)
        except Exception as error:  # whatever a model's own code raises
            _warn_no_tokenizer(type(error).__name__)
            return None
        return len(tokens) >= limit

    def release_model(self) -> None:
        """Free the memory of the model under test, once, before a judge is loaded.

        A model that the caller handed to lm-eval stays: it is theirs.
        """
        if self._released:
            return
        self._released = True
        if self.replays is not None:
            return
        if not self.owns_model:
            _log.warning("The model under test was passed in by the caller and stays in memory.")
            return
        free(self.lm)


@cache
def _warn_no_tokenizer(error: str) -> None:
    _log.warning(
        "Whether responses reached their token limit is not known: the model's tokenizer cannot be "
        "used (%s).",
        error,
    )


@cache
def _warn_unknown(function: str, lacking: str) -> None:
    _log.warning(
        "This lm-eval's %s has no %s, so responses are not saved before they are judged and the "
        "model under test stays in memory; --metadata judge=deferred and `safemerge judge` need "
        "neither.",
        function,
        lacking,
    )


def _frame(module: str, function: str | None) -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        inside = name == module or (function is None and name.startswith(f"{module}."))
        if inside and function in (None, frame.f_code.co_name):
            return frame
        frame = frame.f_back
    return None


def _output_folder(tracker: Any) -> Path | None:
    if tracker is None or not tracker.output_path:
        return None
    path = Path(tracker.output_path)
    if path.suffix == ".json":
        return path.parent
    try:
        return path / str(tracker.general_config_tracker.model_name_sanitized)
    except AttributeError:  # a tracker of another lm-eval or of the caller's own
        return path

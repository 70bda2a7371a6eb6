"""From a sweep's file to its graph: everything that has to be known before any work."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.known_versions import refuse_unknown
from safemerge_tasks.common.validation import nearest
from safemerge_tasks.sweep.graph import Graph, build_graph
from safemerge_tasks.sweep.merge_words import in_sweep_words, merge_errors
from safemerge_tasks.sweep.models import Sources, find_sources
from safemerge_tasks.sweep.questions import (
    SAFETY,
    UTILITY,
    Questions,
    Wanted,
    read_questions,
)
from safemerge_tasks.sweep.serving.merges import Merge
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.store import Store
from safemerge_tasks.sweep.variants import Cell, expand

if TYPE_CHECKING:
    from safemerge_tasks.finetune.outlook import Outlook


@dataclass(frozen=True)
class Prepared:
    """A sweep, ready to be run or planned.

    Attributes:
        wanted: what merged variants are asked; None is everything.
    """

    spec: SweepSpec
    store: Store
    sources: Sources
    cells: Sequence[Cell]
    questions: Questions
    graph: Graph
    wanted: Wanted | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of questions and models."""
        return (*self.questions.notes, *self.graph.notes)

    def asking(self, more: Wanted, *, read: bool = True) -> "Prepared":
        """Return this sweep with more asked of some merged variants."""
        wanted = dict(self.wanted or {})
        for name, parts in more.items():
            wanted[name] = wanted.get(name, frozenset()) | parts
        graph = build_graph(
            self.spec, self.cells, self.sources, self.questions, read=read, wanted=wanted
        )
        return replace(self, graph=graph, wanted=wanted)


def prepare(spec: SweepSpec, store: Store, *, read: bool = True) -> Prepared:
    """Find everything a sweep needs.

    Args:
        spec: the sweep.
        store: where results are kept.
        read: hash models that have not been hashed yet, which reads all of their weights.

    Raises:
        SafemergeError: something is missing or does not fit.
    """
    check_settings(spec, store)
    sources = find_sources(spec, read=read)
    cells = expand(spec, sources.seeds())
    questions = read_questions(spec, store)
    wanted = _at_first(spec, cells)
    graph = build_graph(spec, cells, sources, questions, read=read, wanted=wanted)
    return Prepared(spec, store, sources, cells, questions, graph, wanted)


def check_settings(spec: SweepSpec, store: Store) -> None:
    """Find out what is missing, whatever the models are.

    Raises:
        SafemergeError: the engine, a folder, or room for results.
    """
    if find_spec(spec.engine.model if spec.engine.model == "vllm" else "transformers") is None:
        raise SafemergeError(
            f"{spec.name}: engine.model is vllm, which is not installed; install "
            "safemerge[vllm], or write engine: {model: hf}."
        )
    if spec.engine.model == "vllm":
        refuse_unknown("vllm")
        _refuse_unknown_arguments(spec)
    for name, folder in (("data_dir", spec.data_dir), ("include_path", spec.tasks.include_path)):
        if folder is not None and not Path(folder).expanduser().is_dir():
            raise SafemergeError(f"{spec.name}: {name} {folder} is no folder; correct it.")
    store.check()


def _refuse_unknown_arguments(spec: SweepSpec) -> None:
    """Refuse arguments that no engine would start with; importing vLLM takes longer than a plan."""
    known = {
        name
        for package, file, owner in (
            ("vllm", "engine/arg_utils.py", "EngineArgs"),
            ("vllm", "entrypoints/llm.py", "LLM"),
            ("lm_eval", "models/vllm_causallms.py", "VLLM"),
        )
        if (found := find_spec(package)) and found.origin
        for name in _names_in(Path(found.origin).parent / file, owner)
    }
    for name in spec.engine.model_args:
        if known and name not in known:
            near = nearest(name, known)
            raise SafemergeError(
                f"{spec.name}: engine.model_args has {name}, which vLLM does not know; "
                + (f"did you mean {near}?" if near else "remove it.")
            )


def _names_in(file: Path, owner: str) -> Iterator[str]:
    """Yield the fields of a class, and what it is made with."""
    tree = ast.parse(file.read_bytes()) if file.is_file() else ast.Module([], [])
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) and node.name == owner else ():
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                yield part.target.id
            elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
                yield from (one.arg for one in (*part.args.args, *part.args.kwonlyargs))


def _at_first(spec: SweepSpec, cells: Sequence[Cell]) -> Wanted | None:
    """Return what merged variants are asked before anything is known of any."""
    if spec.choose.search:
        return {}
    if spec.tested_points == "chosen":
        return {cell.variant.id: frozenset((SAFETY, UTILITY)) for cell in cells if cell.merging}
    return None


def check_server(prepared: Prepared) -> list[str]:
    """Return what the engine's server says of itself, if it is one and the next to work.

    Raises:
        SafemergeError: it does not answer, or serves another model than the base.
    """
    spec, graph = prepared.spec, prepared.graph
    if spec.engine.url is None:
        return []
    from safemerge_tasks.sweep.serving.url_server import Server

    left = {graph.steps[key].kind for key in graph.needed(lambda key: not prepared.store.done(key))}
    # While models are trained their GPUs may not be the server's yet.
    if "answer" not in left or "finetune" in left:
        return []
    server = Server(spec.base, spec.engine)
    said = ", ".join(f"{name} {value}" for name, value in server.about.items() if value)
    return [f"{spec.engine.url} answers: {said}"]


def check_merges(prepared: Prepared) -> list[str]:
    """Check every merge whose inputs are there already, from headers only; return notes.

    Raises:
        SafemergeError: a merge would fail.
    """
    from merge import build_recipe, check

    notes: list[str] = []
    seen: list[Any] = []
    for step in prepared.graph.steps.values():
        work = step.work if step.kind == "merge" else step.work.get("merge")
        if work is None or step.inputs or work["recipe"] in seen:
            continue
        seen.append(work["recipe"])
        with merge_errors(f"{step.name}: ", in_sweep_words):
            plan = check(build_recipe(**Merge.of(work).recipe))
        notes += [note for note in plan.notes if note not in notes]
    return notes


def check_finetunes(prepared: Prepared) -> "dict[str, Outlook]":
    """Check every fine-tuning that is to be done; return what each will be.

    Raises:
        SafemergeError: one would fail.
    """
    steps = [step for step in prepared.graph.steps.values() if step.kind == "finetune"]
    if not steps:
        return {}
    from safemerge_tasks.finetune import FinetuneConfig, check

    return {
        step.name: check(FinetuneConfig.model_validate(step.work["config"]), step.work["seed"])
        for step in steps
        if not prepared.store.done(step.key)
    }


def default_store() -> Store:
    """Return the store below the cache folder."""
    from safemerge_tasks.common.cache import cache_dir

    return Store(cache_dir() / "sweep")


def default_out(spec: SweepSpec) -> Path:
    """Return the folder that a sweep writes to unless told."""
    return Path("sweeps") / spec.name

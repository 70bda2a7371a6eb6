"""The sweep as a graph of steps, as few as the mathematics allows.

What is a scaled adapter is served beside the base and never merged; what has to be merged is merged
where it is asked, and is a step of its own only if its checkpoint is to stay; a task's requests are
made once for all variants.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.recipe.recipe import Lambda
from safemerge_tasks.common.cache import VARIABLE as CACHE_DIR
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.file_hashes import file_hash
from safemerge_tasks.common.local_data import DATA_DIR
from safemerge_tasks.sweep.manifest import Split
from safemerge_tasks.sweep.merge_words import in_sweep_words
from safemerge_tasks.sweep.models import MODEL, Source, Sources, is_pair, weight_bytes
from safemerge_tasks.sweep.questions import TEST, Asked, Questions, Wanted
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.steps import Step, make_key, place_of, source_hash
from safemerge_tasks.sweep.variants import Cell, Merging

if TYPE_CHECKING:
    from safemerge_tasks.judges import JudgeSettings

RESPONSES = "responses.json"
RESULTS = "results"

ADAPTERS = "adapters "
"""Begins the groups of what one engine answers with the base and adapters, and of its verdicts."""

MERGED_ADAPTERS = "merge adapters "

JOINED = (ADAPTERS, MERGED_ADAPTERS)
"""Groups that begin alike are done together if they are ready together."""

_NO_SETTINGS = (
    *(CACHE_DIR, DATA_DIR, "SAFEMERGE_JUDGE"),
    *("SAFEMERGE_TRACEBACK", "SAFEMERGE_KEY_PASSWORD", "SAFEMERGE_SLOW_TESTS"),
)
"""Begin variables that shape no score: places, the judge's, and how the program itself runs."""


@dataclass(frozen=True)
class CellResult:
    """Where one cell's result of one task will be, and its responses."""

    asked: Asked
    final: str
    answer: str


@dataclass(frozen=True)
class ServedBothWays:
    """A variant that is served both ways, to see how often the answers are the same."""

    variant: str
    split: Split
    adapter: str
    checkpoint: str


@dataclass
class Graph:
    """Everything that is to be done.

    Attributes:
        steps: by key; inputs come before the steps that read them.
        outcomes: cell → its results.
        served: cell → adapter or checkpoint.
        looks: cell → its results of a search's first questions.
        pairs: for the agreement of adapter serving with merging.
        notes: what the user should know.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    outcomes: dict[str, list[CellResult]] = field(default_factory=dict)
    looks: dict[str, list[CellResult]] = field(default_factory=dict)
    served: dict[str, str] = field(default_factory=dict)
    pairs: list[ServedBothWays] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def targets(self) -> list[str]:
        """Return the steps whose results are wanted."""
        answers = [key for pair in self.pairs for key in (pair.adapter, pair.checkpoint)]
        return list(dict.fromkeys([*self.finals(), *answers]))

    def only_for_agreement(self) -> set[str]:
        """Return the steps that no cell's result needs."""
        return self.steps.keys() - self._read_by(self.finals())

    def finals(self) -> list[str]:
        """Return the steps that give cells' results."""
        every = (*self.outcomes.values(), *self.looks.values())
        return [one.final for outcomes in every for one in outcomes]

    def needed(self, is_open: Callable[[str], bool]) -> set[str]:
        """Return the wanted steps that are open, and the open ones that those read, and so on."""
        return self._read_by(self.targets(), is_open)

    def _read_by(
        self, targets: list[str], is_open: Callable[[str], bool] = lambda _key: True
    ) -> set[str]:
        look, found = list(targets), set[str]()
        while look:
            key = look.pop()
            if key not in found and is_open(key):
                found.add(key)
                look += self.steps[key].inputs
        return found


def build_graph(
    spec: SweepSpec,
    cells: Sequence[Cell],
    sources: Sources,
    questions: Questions,
    *,
    read: bool = True,
    wanted: Wanted | None = None,
) -> Graph:
    """Return the steps that evaluate every cell.

    Args:
        spec: the sweep.
        cells: its models.
        sources: where those come from.
        questions: what they are asked.
        read: hash the judge's weights if they have not been yet.
        wanted: what merged variants are asked; None is everything.

    Raises:
        SafemergeError: the judge cannot work, or an input cannot be read.
    """
    judge, settings = judge_key(spec, read=read), _settings(read=read)
    return _Builder(spec, sources, questions, judge, settings, wanted).build(cells)


class _Builder:
    def __init__(
        self,
        spec: SweepSpec,
        sources: Sources,
        questions: Questions,
        judge: Mapping[str, Any],
        settings: Mapping[str, str],
        wanted: Wanted | None,
    ) -> None:
        self._spec = spec
        self._sources = sources
        self._questions = questions
        self._graph = Graph()
        self._judge = judge
        self._accelerated = _accelerated(spec)
        self._settings = settings
        self._wanted = wanted
        self._size: int | None = None

    def build(self, cells: Sequence[Cell]) -> Graph:
        for step in self._sources.steps():
            self._graph.steps[step.key] = step
        for cell in cells:
            self._add_cell(cell)
        if self._spec.agreement and not self._spec.exact:
            if self._spec.engine.probe:
                self._add_agreement(cells)
            else:
                self._note("without engine.probe the agreement is not measured")
        return self._graph

    def _add_cell(self, cell: Cell) -> None:
        name = cell.variant.id
        asked = [
            one
            for one in (*self._questions.of(cell.variant.tuning), *self._questions.looks)
            if self._is_asked(cell, one)
        ]
        found = list(self._evaluate(cell, asked))
        self._graph.outcomes[name] = [one for one in found if not one.asked.look]
        self._graph.looks[name] = [one for one in found if one.asked.look]

    def _evaluate(self, cell: Cell, asked: Sequence[Asked]) -> Iterator[CellResult]:
        if not asked:
            # What is asked nothing is not merged either.
            return
        served, place, maker, group = self._model(cell, exact=self._spec.exact)
        if served == "checkpoint" and not self._spec.engine.probe:
            raise SafemergeError(
                f"{self._spec.name}: {cell.variant.id} is a checkpoint, and engine.probe is false: "
                "nothing else shows whose weights answer once they are loaded in place; remove "
                "one of them."
            )
        self._graph.served[cell.variant.id] = served
        for one in asked:
            answer = self._answer(cell, one, served, place, maker, group)
            score = self._score(cell, one, answer, place)
            final = self._judged(cell, one, score) if one.safety else score
            yield CellResult(one, final.key, answer.key)

    def _is_asked(self, cell: Cell, asked: Asked) -> bool:
        if cell.merging is None or self._wanted is None:
            return not asked.look
        return asked.part in self._wanted.get(cell.variant.id, ())

    def _model(self, cell: Cell, *, exact: bool) -> tuple[str, str | None, Step | Source, str]:
        """Return how a cell is served, where it is, what makes it, and its group of requests."""
        variant, merging = cell.variant, cell.merging
        if variant.kind == "base":
            return "adapter", None, self._sources.base, f"{ADAPTERS}base"
        assert variant.tuning is not None
        # All that is made of one fine-tuned model; its checkpoints have one engine, in place.
        whose = f"{variant.tuning} {'+'.join(map(str, variant.seeds))}"
        tuned = [self._sources.tuned[variant.tuning][seed] for seed in variant.seeds]
        if merging is None:
            model = tuned[0]
            if not is_pair(model.place):
                # An adapter's folder may have a tokenizer beside it as well.
                self._compare_prompts(variant.tuning, Path(model.place))
            if not model.adapter and not is_pair(model.place):
                return "checkpoint", model.place, model, f"answer {whose}"
            if not exact and self._servable(cell, tuned):
                return "adapter", model.place, model, f"{ADAPTERS}{whose}"
        step = self._merge(cell, tuned, exact=exact)
        served = str(step.work["recipe"]["output"])
        group = f"{ADAPTERS}{whose}" if served == "adapter" else f"answer {whose}"
        return served, place_of(step.key, MODEL), step, group

    def _compare_prompts(self, tuning: str, folder: Path) -> None:
        """Refuse a model that reads other tokens than the base's tokenizer, which serves it, makes.

        Raises:
            SafemergeError: the same numbers stand for other tokens there.
        """
        from merge.models.prompts import read_template
        from merge.models.vocabularies import conflicts, read_vocabulary, same_tokenizer_file, show

        base = Path(self._spec.base).expanduser()
        if not (folder.is_dir() and base.is_dir()):
            return
        if not same_tokenizer_file(base, folder):
            one, other = read_vocabulary(base), read_vocabulary(folder)
            if one and other and (clash := conflicts(one, other)):
                raise SafemergeError(
                    f"{self._spec.name}: {tuning}: the tokenizers of {folder} and of the base give "
                    f"the same ids to different tokens ({show(clash)}), and the base's serves "
                    "every variant; name a model that was trained from the base."
                )
        if read_template(folder) not in (None, read_template(base)):
            self._note(f"{tuning}: {folder} has a chat template of its own; the base's asks it too")

    def _merge(self, cell: Cell, tuned: list[Source], *, exact: bool) -> Step:
        variant, merging = cell.variant, cell.merging or _WRITTEN_OUT
        played = {role: self._sources.roles[role] for role in merging.roles}
        recipe = self._recipe(merging, tuned, [])
        # The λ stands beside the recipe, in the step and in its key.
        del recipe["lambdas"]
        models = [*tuned, *played.values()]
        adapter = not exact and self._is_adapter(cell, tuned, models)
        shape = {} if adapter else self._spec.merge.recipe_fields()
        fields = {**recipe, **shape, "output": "adapter" if adapter else "checkpoint"}
        shaped_by = {
            **{name: value for name, value in fields.items() if name in _SHAPING},
            "base": self._sources.base.identity,
            "tuned": [model.identity for model in tuned],
            "roles": {role: model.identity for role, model in played.items()},
            "lambda": merging.weight,
            **method_key(merging.method),
        }
        inputs = tuple(model.step.key for model in models if model.step)
        key = make_key("merge", shaped_by, inputs)
        # One process makes all merges of a fine-tuned model.
        seeds = "+".join(map(str, variant.seeds))
        group = f"{MERGED_ADAPTERS if adapter else 'merge '}{variant.tuning} {seeds}"
        work = {
            "recipe": fields,
            "lambda": merging.weight,
            "allow_nonfinite": self._spec.merge.allow_nonfinite,
        }
        if adapter:
            return self._add(Step(key, "merge", variant.id, group, inputs, work))
        step = Step(key, "merge", variant.id, group, inputs, work, self._checkpoint_bytes())
        # Whoever asks the model merges it, unless it is to stay.
        return self._add(step) if self._spec.keep_checkpoints else step

    def _recipe(
        self, merging: Merging, tuned: list[Source], weights: Sequence[Lambda]
    ) -> dict[str, Any]:
        roles = {role: model.place for role, model in self._sources.roles.items()}
        return merging.recipe(self._spec.base, [one.place for one in tuned], roles, weights)

    def _is_adapter(self, cell: Cell, tuned: list[Source], models: list[Source]) -> bool:
        """Return whether a merge can be had as an adapter, exactly."""
        from merge import MergeError, build_recipe, check
        from merge.methods import find_method
        from merge.recipe.tensor_settings import Place

        merging = cell.merging
        if merging is None or not self._servable(cell, models):
            return False
        weights = [] if merging.weight is None else [merging.weight]
        recipe = build_recipe(**self._recipe(merging, tuned, weights), output="adapter")
        values = recipe.values_at(Place("", 0.0))
        if find_method(recipe.method).coefficients(values, 1.0) is None:
            return False
        if any(model.step for model in models):
            return True
        try:
            check(recipe)
        except MergeError as error:
            self._note_merged(cell, in_sweep_words(error))
            return False
        return True

    def _servable(self, cell: Cell, models: list[Source]) -> bool:
        """Return whether models are adapters that the engine serves as they are."""
        from safemerge_tasks.sweep.serving.adapters import check_servable

        if not all(model.adapter for model in models):
            return False
        if self._spec.engine.model == "hf":
            return True
        try:
            for model in models:
                # What is trained here is plain LoRA; what is still on the Hub is found out later.
                if model.step is None and Path(model.place).is_dir():
                    check_servable(Path(model.place))
        except SafemergeError as error:
            self._note_merged(cell, str(error))
            return False
        return True

    def _note_merged(self, cell: Cell, reason: str) -> None:
        self._note(f"{cell.variant.tuning}: merged instead of served as an adapter: {reason}")

    def _note(self, note: str) -> None:
        if note not in self._graph.notes:
            self._graph.notes.append(note)

    def _answer(
        self,
        cell: Cell,
        asked: Asked,
        served: str,
        place: str | None,
        maker: Step | Source,
        group: str,
    ) -> Step:
        engine = self._spec.engine
        step = maker if isinstance(maker, Step) else maker.step
        identity = None if step else maker.identity if isinstance(maker, Source) else None
        made_by = (step.key,) if step else ()
        merged_here = (
            step is not None and step.kind == "merge" and step.key not in self._graph.steps
        )
        shaped_by = {
            "served": served,
            "model": identity,
            # Its tokenizer serves checkpoints too.
            "base": self._sources.base.identity,
            "recording": asked.digest,
            **engine.shaping,
        }
        work = {
            "recording": asked.recording,
            "served": served,
            "model": place,
            **({"merge": step.work} if step and merged_here else {}),
            "base": self._spec.base,
            "engine": engine.model_dump(mode="json", exclude={"engines"}),
            "requests": asked.requests,
        }
        key = make_key("answer", shaped_by, made_by)
        inputs = step.inputs if step and merged_here else made_by
        return self._add(
            Step(key, "answer", f"{cell.variant.id}, {asked.task}", group, inputs, work)
        )

    def _score(self, cell: Cell, asked: Asked, answer: Step, place: str | None) -> Step:
        arguments = {
            "pretrained": self._spec.base if answer.work["served"] == "adapter" else place,
            **({"lora_local_path": place} if answer.work["served"] == "adapter" and place else {}),
            **self._spec.engine.model_args,
        }
        shaped_by = {
            "tasks": {
                name: value
                for name, value in asked.evaluation.to_key().items()
                if name not in ("data_dir", "include_path", "base")
            },
            "content": asked.scoring,
            "settings": self._settings,
        }
        work = {
            "evaluation": asked.evaluation.model_dump(mode="json"),
            "recording": asked.recording,
            "responses": place_of(answer.key, RESPONSES),
            "model_args": arguments,
            "requests": asked.requests,
            "judged": asked.safety,
        }
        key = make_key("score", shaped_by, (answer.key,))
        name = f"{cell.variant.id}, {asked.task}"
        return self._add(Step(key, "score", name, answer.group, (answer.key,), work))

    def _judged(self, cell: Cell, asked: Asked, score: Step) -> Step:
        work = {
            "results": place_of(score.key, RESULTS),
            "judge": dict(self._spec.judge),
            "accelerated": self._accelerated,
            "requests": asked.requests,
        }
        key = make_key("judge", {"judge": self._judge}, (score.key,))
        name = f"{cell.variant.id}, {asked.task}"
        return self._add(Step(key, "judge", name, score.group, (score.key,), work))

    def _add_agreement(self, cells: Sequence[Cell]) -> None:
        """Serve one merge of each method and fine-tuning both ways, on data that all are asked.

        Of a search it is what was chosen, and not what it passed by.
        """
        split: Split = "test" if self._wanted is None else "validation"
        searched = self._wanted is not None and self._spec.choose.search
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
            variant = cell.variant
            if searched and TEST not in (self._wanted or {}).get(variant.id, ()):
                continue
            if cell.merging and self._graph.served.get(variant.id) == "adapter":
                groups.setdefault((str(variant.tuning), str(variant.label)), []).append(cell)
        for found in groups.values():
            cell = found[len(found) // 2]
            served, place, maker, group = self._model(cell, exact=True)
            for outcome in self._graph.outcomes[cell.variant.id]:
                if outcome.asked.split == split:
                    answer = self._answer(cell, outcome.asked, served, place, maker, group)
                    self._graph.pairs.append(
                        ServedBothWays(cell.variant.id, split, outcome.answer, answer.key)
                    )

    def _add(self, step: Step) -> Step:
        return self._graph.steps.setdefault(step.key, step)

    def _checkpoint_bytes(self) -> int:
        if self._size is None:
            self._size = weight_bytes(self._spec.base, self._spec.merge.dtype)
        return self._size


_WRITTEN_OUT = Merging("linear", 1.0, {}, 0)
"""A fine-tuned model that has to be served as a checkpoint: all of its way from the base."""

_SHAPING = ("parameters", "seed", "output", "dtype", "vocabulary")


def method_key(name: str) -> dict[str, Any]:
    """Return what shapes a merge of its method: the name, and the code unless it is `merge`'s."""
    from merge.methods import find_method

    method = find_method(name)
    package = type(method).__module__.partition(".")[0]
    if method.file:
        return {"method": method.name, "method's code": method.file[1]}
    other = {} if package == "merge" else {"method's code": source_hash(package)}
    return {"method": method.name, **other}


def _settings(*, read: bool) -> Mapping[str, str]:
    """Return what the environment says about scoring; places count by what is in them."""
    from safemerge_tasks.sweep.identity import model_identity

    said = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("SAFEMERGE_") and not name.startswith(_NO_SETTINGS)
    }
    for name, value in said.items():
        if Path(value).is_dir():
            said[name] = model_identity(value, read=read) or f"unread {value}"
        elif Path(value).is_file():
            said[name] = file_hash(Path(value))
    return said


def judge_key(spec: SweepSpec, *, read: bool) -> dict[str, Any]:
    """Return what shapes a verdict; the judge is checked on the way.

    Raises:
        SafemergeError: the judge cannot work.
    """
    from safemerge_tasks.judges import JudgeSettings
    from safemerge_tasks.judges.judging.by_language import judges_whatever

    asked = JudgeSettings.from_metadata(spec.judge)
    keys = [_key_of(spec, one, read=read) for one in judges_whatever(asked)]
    return keys[0] if len(keys) == 1 else {"name": asked.name, "judges": keys}


def _accelerated(spec: SweepSpec) -> bool:
    """Return whether the judge loads weights here, for which there has to be room."""
    from safemerge_tasks.judges import JudgeSettings, make_judge
    from safemerge_tasks.judges.judging.by_language import judges_whatever

    asked = JudgeSettings.from_metadata(spec.judge)
    return any(make_judge(one).uses_accelerator for one in judges_whatever(asked))


_JUDGE_FILES = ("prompt", "calibration")
"""Settings of a judge that name files, of which the content counts."""


def _key_of(spec: SweepSpec, settings: "JudgeSettings", *, read: bool) -> dict[str, Any]:
    from safemerge_tasks.judges import make_judge
    from safemerge_tasks.judges.names import named_in
    from safemerge_tasks.sweep.identity import model_identity
    from safemerge_tasks.sweep.serving.own_modules import code_content
    from safemerge_tasks.verdicts.answer import VERSION

    judge = make_judge(settings)
    if judge.deferred:
        raise SafemergeError(f"{spec.name}: a sweep needs verdicts; name a judge, not deferred.")
    judge.check()
    cache = judge.cache_key()
    if cache and settings.model and Path(settings.model).is_dir():
        # Where its weights are and when they were copied there changes no verdict.
        cache = {name: value for name, value in cache.items() if name not in ("model", "weights")}
    key: dict[str, Any] = {
        "cache": cache,
        "name": settings.name,
        "answers": VERSION,
    }
    if key["cache"] is None:
        key["settings"] = settings.model_dump(mode="json", exclude={*_JUDGE_FILES, "files"})
    own = [file for file in settings.files if file.name in named_in(settings.name)]
    if own:
        key["files"] = [code_content(Path(file.path)) for file in own]
    packages = {type(one).__module__.partition(".")[0] for one in (judge, *judge.members)}
    if others := sorted(packages - {"safemerge_tasks"}):
        key["code"] = [source_hash(package) for package in others]
    for name in _JUDGE_FILES:
        if (file := getattr(settings, name)) and Path(file).is_file():
            key[name] = file_hash(Path(file))
    if settings.model and Path(settings.model).is_dir():
        key["weights"] = model_identity(settings.model, read=read)
    return key

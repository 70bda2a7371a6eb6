"""The steps of a sweep: as few as possible, keyed by all that shapes them and nothing else."""

import importlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from merge_models import llama_config, random_model, write_tokenizer

from merge import build_recipe, check
from merge.methods import (
    Method,
    describe_methods,
    find_method,
    methods,
    register,
    registry,
)
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.kinds.model_judge import ModelJudge
from safemerge_tasks.sweep import steps
from safemerge_tasks.sweep import steps as steps_module
from safemerge_tasks.sweep.graph import ADAPTERS, Graph, build_graph
from safemerge_tasks.sweep.manifest import Measured, Split, Tasks
from safemerge_tasks.sweep.models import find_sources
from safemerge_tasks.sweep.questions import SAFETY, TEST, UTILITY, Asked, Questions, Wanted
from safemerge_tasks.sweep.serving.asked import EngineSettings
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.spec import SPLITS, SweepSpec
from safemerge_tasks.sweep.steps import Step
from safemerge_tasks.sweep.variants import expand


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny base, adapters on it, and whole models."""
    root = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("base", "whole", "unaligned")):
        random_model(llama_config(), seed).save_pretrained(root / name)
        write_tokenizer(root / name)
    for seed, name in enumerate(("adapter-1", "adapter-2", "trained-embeddings")):
        model = transformers.AutoModelForCausalLM.from_pretrained(root / "base")
        kept = ["embed_tokens"] if name == "trained-embeddings" else None
        config = peft.LoraConfig(
            r=4, lora_alpha=8, target_modules=["q_proj"], modules_to_save=kept, use_dora=bool(kept)
        )
        torch.manual_seed(seed)
        wrapped = peft.get_peft_model(model, config, low_cpu_mem_usage=False)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape) * 0.1)
        wrapped.save_pretrained(root / name)
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "models"))


def content(models: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "loaf",
        "base": str(models / "base"),
        "tunings": [{"name": "bread", "models": {1: str(models / "adapter-1")}}],
        "methods": [
            {"method": "linear", "lambda": [0.2, 0.4, 0.6]},
            {"method": "slerp", "lambda": [0.4, 0.8]},
        ],
        "tasks": {"validation": {"safety": ["v_asr"]}, "test": {"safety": ["t_asr"]}},
        "judge": {"judge": "keywords"},
        **changes,
    }


def asked_of(spec: SweepSpec, digest: str, scoring: str) -> Questions:
    """Return a safety task, a utility task of all, and one of each tuning alone, per split."""
    tasks: dict[str, dict[Split, Tasks]] = {}
    asked: dict[tuple[Split, str], Asked] = {}
    for split in SPLITS:
        for tuning in spec.tunings:
            names = [f"{split}-asr", f"{split}-task", f"{split}-{tuning.name}"]
            measured = [Measured(task=name, metric="m") for name in names]
            found = Tasks(safety=(measured[0],), utility=tuple(measured[1:]))
            tasks.setdefault(tuning.name, {})[split] = found
            for name in names:
                evaluation = Evaluation(tasks=(name,), base=spec.base, limit=spec.tasks.limit)
                requests = f"{digest}-{name}"
                asked[split, name] = Asked(
                    name, split, name == names[0], evaluation, requests, requests, scoring, 1, 2, 3
                )
    return Questions(tasks, asked)


def graph_of(
    described: Mapping[str, Any],
    *,
    digest: str = "d",
    scoring: str = "s",
    read: bool = True,
    wanted: Wanted | None = None,
    looks: bool = False,
) -> Graph:
    spec = SweepSpec.model_validate(described)
    sources = find_sources(spec, read=read)
    cells = expand(spec, sources.seeds())
    questions = asked_of(spec, digest, scoring)
    if looks:
        whole = questions.asked["validation", "validation-asr"]
        first = [replace(whole, look=n, digest=f"{n}", recording=f"{n}") for n in (1, 2)]
        questions = replace(questions, looks=tuple(first))
    return build_graph(spec, cells, sources, questions, read=read, wanted=wanted)


def kinds(graph: Graph) -> dict[str, int]:
    return dict(Counter(step.kind for step in graph.steps.values()))


def merges(graph: Graph) -> list[Step]:
    """Return all merges; those that are done to be asked as if they were steps of their own."""
    found = {step.key: step for step in graph.steps.values() if step.kind == "merge"}
    for step in graph.steps.values():
        if "merge" in step.work:
            key = step.work["model"].removeprefix("step:").partition("/")[0]
            name = step.name.partition(",")[0]
            merged = Step(key, "merge", name, step.group, step.inputs, step.work["merge"])
            found.setdefault(key, merged)
    return list(found.values())


def keys(graph: Graph, cell: str) -> tuple[set[str], set[str], set[str]]:
    """Return the keys of a cell's answers, of its scores without a judge, and of its verdicts."""
    outcomes = graph.outcomes[cell]
    return (
        {one.answer for one in outcomes},
        {one.final for one in outcomes if not one.asked.safety},
        {one.final for one in outcomes if one.asked.safety},
    )


class TestAsFewAsPossible:
    def test_counts(self, made: Path) -> None:
        graph = graph_of(content(made))
        # 1 base, 1 fine-tuned, 3 linear, 2 slerp; three tasks in each of two splits.
        assert len(graph.outcomes) == 7
        assert kinds(graph) == {
            # 3 adapters. 2 others, and one to compare adapters with, are merged to be asked.
            "merge": 3,
            # That one answers the three test tasks.
            "answer": 7 * 6 + 3,
            "score": 7 * 6,
            "judge": 7 * 2,
        }

    def test_inputs_come_before_their_readers(self, made: Path) -> None:
        seen: set[str] = set()
        for step in graph_of(content(made)).steps.values():
            assert set(step.inputs) <= seen
            seen.add(step.key)

    def test_scaled_adapters_are_never_merged(self, made: Path) -> None:
        graph = graph_of(content(made, agreement=False))
        outputs = {step.name: step.work["recipe"]["output"] for step in merges(graph)}
        assert outputs == {
            **{f"bread-linear-seed-1-lambda-{weight}": "adapter" for weight in (0.2, 0.4, 0.6)},
            **{f"bread-slerp-seed-1-lambda-{weight}": "checkpoint" for weight in (0.4, 0.8)},
        }
        assert {step.name for step in graph.steps.values() if step.kind == "merge"} == {
            name for name, output in outputs.items() if output == "adapter"
        }
        assert graph.served == {
            "base": "adapter",
            "bread-tuned-seed-1": "adapter",
            **{f"bread-linear-seed-1-lambda-{weight}": "adapter" for weight in (0.2, 0.4, 0.6)},
            **{f"bread-slerp-seed-1-lambda-{weight}": "checkpoint" for weight in (0.4, 0.8)},
        }

    def test_one_job_for_all_adapters_of_a_model_and_one_for_its_checkpoints(
        self, made: Path
    ) -> None:
        graph = graph_of(content(made))
        answers = [step for step in graph.steps.values() if step.kind == "answer"]
        groups = Counter(step.group for step in answers)
        assert groups == {
            f"{ADAPTERS}base": 6,
            f"{ADAPTERS}bread 1": 4 * 6,
            "answer bread 1": 2 * 6 + 3,
        }

    def test_a_job_goes_from_answers_to_verdicts(self, made: Path) -> None:
        steps = graph_of(content(made)).steps
        for step in steps.values():
            if step.kind in ("score", "judge"):
                assert {steps[key].group for key in step.inputs} == {step.group}

    def test_one_engine_for_all_methods_and_lambda(self, made: Path) -> None:
        methods = [
            {"method": "slerp", "lambda": [0.4, 0.8]},
            {"method": "dare-linear", "lambda": 0.5, "drop_rate": [0.1, 0.3]},
            {"method": "resta", "gamma": 0.5, "drop_rate": 0.1},
        ]
        unaligned = str(made / "adapter-2")
        graph = graph_of(content(made, methods=methods, unaligned=unaligned, agreement=False))
        assert len(merges(graph)) == 2 + 2 + 1
        assert len({step.group for step in merges(graph)}) == 1
        assert "merge" not in kinds(graph)

    def test_adapters_are_put_together_by_one_job(self, made: Path) -> None:
        graph = graph_of(content(made, agreement=False))
        groups = Counter(step.group for step in graph.steps.values() if step.kind == "merge")
        assert list(groups.values()) == [3]

    def test_checkpoints_that_stay_are_steps_that_answers_read(self, made: Path) -> None:
        one = graph_of(content(made, agreement=False))
        kept = graph_of(content(made, agreement=False, keep_checkpoints=True))
        more = kept.steps.keys() - one.steps.keys()
        assert {kept.steps[key].name for key in more} == {SLERP, "bread-slerp-seed-1-lambda-0.8"}
        assert all(kept.steps[key].nbytes > 0 for key in more)
        # Where the weights come from is all that differs.
        assert one.steps.keys() <= kept.steps.keys()
        for key in keys(kept, SLERP)[0]:
            assert set(kept.steps[key].inputs) <= more
            assert one.steps[key].inputs == ()
            assert "merge" not in kept.steps[key].work

    def test_the_base_is_asked_every_task_and_each_tuning_its_own(self, made: Path) -> None:
        tunings = [
            {"name": "bread", "models": {1: str(made / "adapter-1")}},
            {"name": "rolls", "models": {1: str(made / "adapter-2")}},
        ]
        graph = graph_of(content(made, tunings=tunings))

        def test_tasks(cell: str) -> list[str]:
            return [one.asked.task for one in graph.outcomes[cell] if one.asked.split == "test"]

        assert test_tasks("base") == ["test-asr", "test-task", "test-bread", "test-rolls"]
        assert test_tasks("rolls-tuned-seed-1") == ["test-asr", "test-task", "test-rolls"]

    def test_whole_models_are_merged_and_served_as_they_are(self, made: Path) -> None:
        tunings = [{"name": "bread", "models": {1: str(made / "whole")}}]
        graph = graph_of(content(made, tunings=tunings))
        assert graph.served["bread-tuned-seed-1"] == "checkpoint"
        assert {step.work["recipe"]["output"] for step in merges(graph)} == {"checkpoint"}
        assert graph.pairs == []

    def test_model_stock_is_merged(self, made: Path) -> None:
        tunings = [
            {
                "name": "bread",
                "models": {1: str(made / "adapter-1"), 2: str(made / "adapter-2")},
            }
        ]
        graph = graph_of(content(made, tunings=tunings, methods=[{"method": "model-stock"}]))
        (step,) = merges(graph)
        assert step.work["lambda"] is None
        assert graph.served["bread-model-stock-all-seeds"] == "checkpoint"

    def test_resta_from_whole_models(self, made: Path) -> None:
        methods = [{"method": "resta", "gamma": [0.25, 0.5]}]
        unaligned = str(made / "unaligned")
        graph = graph_of(content(made, methods=methods, unaligned=unaligned))
        assert {step.work["recipe"]["unaligned"] for step in merges(graph)} == {unaligned}
        assert len({step.key for step in merges(graph)}) == 2


class TestExact:
    def test_everything_is_merged(self, made: Path) -> None:
        graph = graph_of(content(made, exact=True))
        served = graph.served
        assert served.pop("base") == "adapter"
        assert set(served.values()) == {"checkpoint"}
        assert {step.work["recipe"]["output"] for step in merges(graph)} == {"checkpoint"}
        # The fine-tuned model itself is the linear merge at 1.
        tuned = next(step for step in merges(graph) if step.name == "bread-tuned-seed-1")
        assert tuned.work["lambda"] == 1.0
        assert graph.pairs == []

    def test_what_does_not_scale_is_merged_with_a_note(self, made: Path) -> None:
        tunings = [{"name": "bread", "models": {1: str(made / "trained-embeddings")}}]
        graph = graph_of(content(made, tunings=tunings))
        (note,) = graph.notes
        assert note.startswith("bread: merged instead of served as an adapter: ")
        assert graph.served["bread-linear-seed-1-lambda-0.4"] == "checkpoint"

    def test_a_tuned_adapter_that_no_engine_serves_is_merged_too(self, made: Path) -> None:
        tunings = [{"name": "bread", "models": {1: str(made / "trained-embeddings")}}]
        graph = graph_of(content(made, tunings=tunings))
        assert graph.served["bread-tuned-seed-1"] == "checkpoint"
        # PEFT itself serves all that it makes.
        graph = graph_of(content(made, tunings=tunings, engine={"model": "hf"}))
        assert graph.served["bread-tuned-seed-1"] == "adapter"
        server = {"url": "http://localhost:8000/v1"}
        graph = graph_of(content(made, tunings=tunings, engine=server))
        assert graph.served["bread-tuned-seed-1"] == "checkpoint"


class TestAgreement:
    def test_the_middle_of_the_grid_is_served_both_ways_on_the_test_split(self, made: Path) -> None:
        graph = graph_of(content(made))
        assert len(graph.pairs) == 3
        names = {graph.steps[pair.checkpoint].name for pair in graph.pairs}
        middle = "bread-linear-seed-1-lambda-0.4"
        assert names == {f"{middle}, test-{what}" for what in ("asr", "task", "bread")}
        for pair in graph.pairs:
            assert (pair.variant, pair.split) == (middle, "test")
            one, other = graph.steps[pair.adapter], graph.steps[pair.checkpoint]
            assert one.work["recording"] == other.work["recording"]
            assert (one.work["served"], other.work["served"]) == ("adapter", "checkpoint")
        assert {pair.checkpoint for pair in graph.pairs} <= set(graph.targets())

    def test_not_where_it_is_not_wanted(self, made: Path) -> None:
        assert graph_of(content(made, agreement=False)).pairs == []


OWN = """
from pydantic import Field
from merge.methods import Method, Parameters, Role

class Pull(Parameters):
    pull: float = Field(ge=0, description="how far")

class Tug(Method):
    name, parameters, default_lambda = "tug", Pull, 0.5
    roles = (Role("anchor", "what is pulled at"),)

    def merge(self, block, values, lambdas, totals):
        for scale in lambdas:
            away = block.role_delta("anchor")
            yield block.base + scale * (block.deltas[0] - values["pull"] * away)
"""


def every_role(models: Path, method: Method) -> dict[str, str]:
    """Return a whole model for each role that a method has, but for saved vectors."""
    return {role.name: str(models / "unaligned") for role in method.roles if not role.difference}


def declared_grid(method: Method) -> dict[str, float]:
    """Return a value for each parameter that a method has to be given, by its own description."""
    described = next(one for one in describe_methods() if one.name == method.name)
    needed = [one for one in described.parameters if one.required]
    return {
        one.name: min(max(0.5, one.low), one.high) // 1 ** (one.type == "int") for one in needed
    }


class TestEveryMethod:
    """What a method declares is all that a sweep has to know of it."""

    @pytest.mark.parametrize("name", methods())
    def test_is_planned_or_refused_with_a_sentence(self, made: Path, name: str) -> None:
        method = find_method(name)
        models = {1: str(made / "adapter-1"), 2: str(made / "adapter-2")}
        described = content(
            made,
            tunings=[{"name": "bread", "models": models}],
            methods=[{"method": name, **declared_grid(method)}],
            **every_role(made, method),
        )
        if method.tuned[1] == 0:
            with pytest.raises(SafemergeError) as raised:
                graph_of(described)
            assert str(raised.value).startswith(f"loaf: {name} merges no fine-tuned model")
            return
        graph = graph_of(described)
        teams = 1 if method.tuned[0] > 1 else 2
        assert sum(f"-{name}-" in variant for variant in graph.outcomes) == teams
        merged = [step for step in merges(graph) if step.work["recipe"]["method"] == name]
        assert len(merged) >= teams
        for step in merged:
            weights = [] if step.work["lambda"] is None else [step.work["lambda"]]
            recipe = build_recipe(**step.work["recipe"], lambdas=weights)
            assert recipe.roles.keys() == {role.name for role in method.roles} - {"vector"}
            assert check(recipe).tensors

    def test_and_one_in_a_file_of_the_user_s(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
        file = tmp_path / "tug.py"
        file.write_text(OWN)

        def described(own: Path) -> dict[str, Any]:
            tug = [{"method": f"{own}:Tug", "pull": [0.1, 0.3]}]
            return content(made, methods=tug, anchor=str(made / "unaligned"), agreement=False)

        graph = graph_of(described(file))
        assert sorted(set(graph.outcomes)) == [
            "base",
            "bread-tug-seed-1-pull-0.1",
            "bread-tug-seed-1-pull-0.3",
            "bread-tuned-seed-1",
        ]
        one, _ = merges(graph)
        # A worker finds the file; where it is shapes no result, and what it says does.
        assert one.work["recipe"]["method"] == f"{file}:Tug"
        (tmp_path / "elsewhere").mkdir()
        other = Path(shutil.copy(file, tmp_path / "elsewhere"))
        monkeypatch.delitem(registry._registered, "tug")
        assert {step.key for step in merges(graph_of(described(other)))} == {
            step.key for step in merges(graph)
        }
        monkeypatch.delitem(registry._registered, "tug")
        file.write_text(OWN.replace("- values", "+ values"))
        changed = graph_of(described(file))
        assert {step.key for step in merges(changed)}.isdisjoint(graph.steps)
        assert changed.outcomes.keys() == graph.outcomes.keys()

    def test_and_one_of_another_package(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its code shapes the result as ours does."""
        monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "rope_of_this_test.py").write_text(OWN)
        register(importlib.import_module("rope_of_this_test").Tug)
        tug = {"methods": [{"method": "tug", "pull": 0.1}], "anchor": str(made / "unaligned")}
        found = []
        for text in (OWN, OWN + "# changed"):
            (tmp_path / "rope_of_this_test.py").write_text(text)
            steps.source_hash.cache_clear()
            found.append({step.key for step in merges(graph_of(content(made, **tug)))})
        steps.source_hash.cache_clear()
        assert found[0].isdisjoint(found[1])


LINEAR = "bread-linear-seed-1-lambda-0.4"
SLERP = "bread-slerp-seed-1-lambda-0.4"
MERGED = [
    *(f"bread-linear-seed-1-lambda-{weight}" for weight in (0.2, 0.4, 0.6)),
    *(f"bread-slerp-seed-1-lambda-{weight}" for weight in (0.4, 0.8)),
]
VALIDATED = dict.fromkeys(MERGED, frozenset((SAFETY, UTILITY)))
EVERYTHING = frozenset((SAFETY, UTILITY, TEST))


class TestChosenPoints:
    """Where test data are for chosen grid points only."""

    def test_others_are_asked_validation_data_alone(self, made: Path) -> None:
        graph = graph_of(content(made), wanted=VALIDATED | {LINEAR: EVERYTHING})
        splits = {
            cell: {one.asked.split for one in outcomes} for cell, outcomes in graph.outcomes.items()
        }
        both = {"validation", "test"}
        assert splits == {
            "base": both,
            "bread-tuned-seed-1": both,
            "bread-linear-seed-1-lambda-0.2": {"validation"},
            LINEAR: both,
            "bread-linear-seed-1-lambda-0.6": {"validation"},
            SLERP: {"validation"},
            "bread-slerp-seed-1-lambda-0.8": {"validation"},
        }

    def test_steps_are_those_of_the_whole_sweep(self, made: Path) -> None:
        few, more, every = (
            set(graph_of(content(made, agreement=False), wanted=wanted).steps)
            for wanted in (VALIDATED, VALIDATED | dict.fromkeys((LINEAR, SLERP), EVERYTHING), None)
        )
        assert few < more < every

    def test_the_agreement_is_measured_on_what_all_are_asked(self, made: Path) -> None:
        pairs = [
            graph_of(content(made), wanted=wanted).pairs
            for wanted in (VALIDATED, VALIDATED | {SLERP: EVERYTHING})
        ]
        assert pairs[0] == pairs[1]
        assert {pair.split for pair in pairs[0]} == {"validation"}


class TestSearch:
    """Where a search asks merged variants in parts."""

    def searched(self, made: Path, *parts: str) -> Graph:
        described = content(made, choose={"search": "auto"})
        return graph_of(described, wanted={LINEAR: frozenset(parts)}, looks=True)

    def test_what_is_asked_nothing_is_not_merged(self, made: Path) -> None:
        graph = self.searched(made)
        assert merges(graph) == []
        assert {name for name, some in graph.outcomes.items() if some} == {
            "base",
            "bread-tuned-seed-1",
        }
        assert not any(graph.looks.values())
        assert graph.pairs == []

    def test_looks_are_results_beside_the_variant_s_own(self, made: Path) -> None:
        graph = self.searched(made, "look 1")
        (look,) = graph.looks[LINEAR]
        assert (look.asked.look, look.asked.task) == (1, "validation-asr")
        assert graph.outcomes[LINEAR] == []
        assert look.final in graph.targets()
        assert len(merges(graph)) == 1

    def test_all_questions_are_asked_after_them(self, made: Path) -> None:
        graph = self.searched(made, "look 1", "look 2", SAFETY)
        assert [one.asked.look for one in graph.looks[LINEAR]] == [1, 2]
        assert [one.asked.task for one in graph.outcomes[LINEAR]] == ["validation-asr"]

    def test_the_agreement_is_measured_on_what_was_chosen(self, made: Path) -> None:
        assert self.searched(made, SAFETY, UTILITY).pairs == []
        pairs = self.searched(made, *EVERYTHING).pairs
        assert {(pair.variant, pair.split) for pair in pairs} == {(LINEAR, "validation")}


class TestHowCheckpointsAreMerged:
    def test_the_default_is_no_part_of_keys(self, made: Path) -> None:
        default = {"vocabulary": "refuse", "allow_nonfinite": True}
        plain, said = graph_of(content(made)), graph_of(content(made, merge=default))
        assert set(plain.steps) == set(said.steps)

    @pytest.mark.parametrize("merge", [{"dtype": "bfloat16"}, {"vocabulary": "grow"}])
    def test_it_is_part_of_checkpoints_alone(self, made: Path, merge: dict[str, str]) -> None:
        plain, other = graph_of(content(made)), graph_of(content(made, merge=merge))
        for cell in ("base", "bread-tuned-seed-1", LINEAR):
            assert keys(plain, cell) == keys(other, cell)
        assert not keys(plain, SLERP)[0] & keys(other, SLERP)[0]
        for step in merges(other):
            recipe = step.work["recipe"]
            said = {name: recipe[name] for name in merge if name in recipe}
            assert said == (merge if recipe["output"] == "checkpoint" else {})

    def test_bytes_are_of_the_type_that_is_written(self, made: Path) -> None:
        graphs = [
            graph_of(content(made, merge={"dtype": dtype}, keep_checkpoints=True))
            for dtype in ("float32", "float16")
        ]
        wide, narrow = (sum(step.nbytes for step in merges(graph)) for graph in graphs)
        assert wide == 2 * narrow > 0

    def test_what_merging_says_is_in_the_words_of_a_sweep(self, made: Path) -> None:
        methods = [{"method": "slerp"}]
        with pytest.raises(SafemergeError, match="needs λ; give lambda, such as lambda 0.5"):
            graph_of(content(made, methods=methods))


class TestKeys:
    def test_the_same_sweep_has_the_same_keys(self, made: Path) -> None:
        assert set(graph_of(content(made)).steps) == set(graph_of(content(made)).steps)

    def test_names_places_and_how_it_is_run_do_not_count(self, made: Path, models: Path) -> None:
        there = content(
            models,
            name="other",
            tunings=[{"name": "rolls", "models": {7: str(models / "adapter-1")}}],
            methods=[
                {"method": "linear", "lambda": [0.2, 0.4, 0.6], "label": "ours"},
                {"method": "slerp", "lambda": [0.4, 0.8]},
            ],
            keep_checkpoints=True,
            choose={"max_asr": 0.5},
            resources={"jobs": 7},
            engine={"engines": 3, "max_loras": 2},
        )
        one, other = graph_of(content(made)), graph_of(there)
        for cell, same in (
            ("base", "base"),
            (LINEAR, "rolls-ours-seed-7-lambda-0.4"),
            (SLERP, "rolls-slerp-seed-7-lambda-0.4"),
        ):
            # The tuning's own task is called after it; the others are alike.
            assert len(keys(one, cell)[0] & keys(other, same)[0]) == 4
            assert len(keys(one, cell)[1] & keys(other, same)[1]) == 2
            assert keys(one, cell)[2] == keys(other, same)[2]
        assert {step.key for step in merges(one)} == {step.key for step in merges(other)}

    def test_a_larger_grid_shares_all_of_the_smaller(self, made: Path) -> None:
        wider = [
            {"method": "linear", "lambda": [0.2, 0.4, 0.6, 0.8]},
            {"method": "slerp", "lambda": [0.2, 0.4, 0.8]},
        ]
        less = graph_of(content(made, agreement=False))
        more = graph_of(content(made, agreement=False, methods=wider))
        assert set(less.steps) < set(more.steps)

    def test_every_cell_and_task_has_keys_of_its_own(self, made: Path) -> None:
        graph = graph_of(content(made))
        finals = [one.final for outcomes in graph.outcomes.values() for one in outcomes]
        assert len(set(finals)) == len(finals) == 42

    def test_the_base_s_content_changes_everything(self, made: Path, models: Path) -> None:
        spoil(models / "base" / "model.safetensors")
        assert not set(graph_of(content(made)).steps) & set(graph_of(content(models)).steps)

    def test_an_adapter_s_content_changes_all_but_the_base(self, made: Path, models: Path) -> None:
        spoil(models / "adapter-1" / "adapter_model.safetensors")
        one, other = graph_of(content(made)), graph_of(content(models))
        assert keys(one, "base") == keys(other, "base")
        assert {step.key for step in merges(one)}.isdisjoint(other.steps)
        for cell in ("bread-tuned-seed-1", LINEAR, SLERP):
            for before, after in zip(keys(one, cell), keys(other, cell), strict=True):
                assert not before & after

    def test_the_unaligned_model_changes_what_adds_its_vector(
        self, made: Path, models: Path
    ) -> None:
        spoil(models / "unaligned" / "model.safetensors")

        def described(root: Path) -> dict[str, Any]:
            further: dict[str, Any] = {"methods": [{"method": "resta", "gamma": 0.5}]}
            return content(root, unaligned=str(root / "unaligned"), **further)

        one, other = graph_of(described(made)), graph_of(described(models))
        assert {step.key for step in merges(one)}.isdisjoint(other.steps)
        assert keys(one, "bread-tuned-seed-1") == keys(other, "bread-tuned-seed-1")

    def test_requests(self, made: Path) -> None:
        one, other = graph_of(content(made)), graph_of(content(made), digest="e")
        assert {step.key for step in merges(one)} == {step.key for step in merges(other)}
        answers = {key for key in one.steps if not key.startswith("merge")}
        assert answers.isdisjoint(other.steps)

    def test_what_scores_the_responses(self, made: Path) -> None:
        one, other = graph_of(content(made)), graph_of(content(made), scoring="other")
        assert keys(one, LINEAR)[0] == keys(other, LINEAR)[0]
        assert not keys(one, LINEAR)[1] & keys(other, LINEAR)[1]
        assert not keys(one, LINEAR)[2] & keys(other, LINEAR)[2]

    def test_engine_arguments(self, made: Path) -> None:
        one = graph_of(content(made))
        for engine in ({"model": "hf"}, {"model_args": {"dtype": "float32"}}):
            other = graph_of(content(made, engine=engine))
            for before, after in zip(keys(one, LINEAR), keys(other, LINEAR), strict=True):
                assert not before & after

    def test_a_server_s_place_and_how_it_is_spoken_to_change_nothing(self, made: Path) -> None:
        here = {"url": "http://localhost:8000/v1"}
        there = {"url": "http://oven:1/v1", "api_key_env": "KEY", "probe": False}
        talk = {"num_concurrent": 8, "max_retries": 9, "timeout": 60, "model": "bread"}
        # Without a probe adapters alone are served.
        plain: dict[str, Any] = {"methods": [{"method": "linear", "lambda": 0.4}]}
        plain["agreement"] = False
        one = graph_of(content(made, engine=here, **plain))
        same = graph_of(content(made, engine={**there, "model_args": talk}, **plain))
        assert same.steps.keys() == one.steps.keys()
        other = graph_of(content(made, engine={**here, "model_args": {"max_length": 512}}, **plain))
        for before, after in zip(keys(one, LINEAR), keys(other, LINEAR), strict=True):
            assert not before & after
        (answer,) = {
            json.dumps(step.work["engine"], sort_keys=True)
            for step in same.steps.values()
            if step.kind == "answer"
        }
        assert EngineSettings(**json.loads(answer)).url == "http://oven:1/v1"

    def test_the_judge_changes_verdicts_alone(self, made: Path) -> None:
        one = graph_of(content(made))
        other = graph_of(content(made, judge={"judge": "keywords", "judge_revision": "v2"}))
        assert keys(one, LINEAR)[:2] == keys(other, LINEAR)[:2]
        assert not keys(one, LINEAR)[2] & keys(other, LINEAR)[2]

    def test_another_of_several_judges(self, made: Path, tmp_path: Path) -> None:
        """A second judge, then another content of its file."""
        file = tmp_path / "mine.py"
        source = "from safemerge_tasks.judges import PlainJudge as make\n"
        file.write_text(source)
        found = [graph_of(content(made))]
        found.append(graph_of(content(made, judge={"judge": f"keywords+{file}"})))
        file.write_text(f"{source}# mended\n")
        found.append(graph_of(content(made, judge={"judge": f"keywords+{file}"})))
        assert len({frozenset(keys(one, LINEAR)[0]) for one in found}) == 1
        assert len({frozenset(keys(one, LINEAR)[2]) for one in found}) == 3

    def test_the_judge_s_weights(self, made: Path, models: Path) -> None:
        judge = {"judge": "keywords", "judge_model": str(models / "whole")}
        one = graph_of(content(made, judge=judge))
        spoil(models / "whole" / "model.safetensors")
        other = graph_of(content(made, judge=judge))
        assert keys(one, LINEAR)[:2] == keys(other, LINEAR)[:2]
        assert not keys(one, LINEAR)[2] & keys(other, LINEAR)[2]

    def test_what_a_judge_of_ones_own_reads(self, made: Path, tmp_path: Path) -> None:
        """A helper beside it, a list that it names, and the rubric that it is given."""
        (tmp_path / "judging").mkdir()
        file = tmp_path / "judging" / "mine.py"
        file.write_text(
            "from safemerge_tasks.judges import PlainJudge as make\n"
            "READS_PROMPT = True\n"
            "def later():\n    import helper\n    return open('words.txt')\n"
        )
        judge = {"judge": str(file), "judge_prompt": str(tmp_path / "rubric.txt")}
        found = []
        for name in ("", "judging/helper.py", "judging/words.txt", "rubric.txt"):
            for path in ("judging/helper.py", "judging/words.txt", "rubric.txt"):
                (tmp_path / path).write_text(f"# {path == name}\n")
            found.append(keys(graph_of(content(made, judge=judge)), LINEAR))
        assert len({frozenset(one[2]) for one in found}) == 4
        # Where it lies is nothing.
        copy = Path(shutil.copytree(tmp_path / "judging", tmp_path / "elsewhere"))
        judge["judge"] = str(copy / "mine.py")
        assert keys(graph_of(content(made, judge=judge)), LINEAR) == found[3]

    def test_a_judge_of_another_package(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        file = tmp_path / "judge_of_this_test.py"
        file.write_text(
            "from safemerge_tasks.judges import PlainJudge\nclass Own(PlainJudge): pass\n"
        )
        own = importlib.import_module("judge_of_this_test").Own
        monkeypatch.setattr("safemerge_tasks.judges.make_judge", own)
        found = []
        for text in ("", "# changed"):
            file.write_text(text)
            steps.source_hash.cache_clear()
            found.append(keys(graph_of(content(made)), LINEAR))
        steps.source_hash.cache_clear()
        assert found[0][:2] == found[1][:2]
        assert not found[0][2] & found[1][2]

    def test_a_judge_s_folder_that_was_touched_or_copied_is_the_same(
        self, made: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ModelJudge, "check", lambda _self: None)

        def found(folder: Path) -> Graph:
            judge = {"judge": "wildguard", "judge_engine": "hf", "judge_model": str(folder)}
            return graph_of(content(made, judge=judge))

        one = found(models / "whole")
        os.utime(models / "whole" / "config.json", (1, 1))
        assert found(models / "whole").steps.keys() == one.steps.keys()
        copy = Path(shutil.copytree(models / "whole", tmp_path / "copy"))
        assert found(copy).steps.keys() == one.steps.keys()
        (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
        assert found(copy).steps.keys() != one.steps.keys()

    def test_a_folder_that_the_environment_names_counts_by_its_content(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as BERTScore's encoder."""

        def found(folder: Path, weights: str) -> Graph:
            folder.mkdir(exist_ok=True)
            (folder / "model.safetensors").write_text(weights)
            monkeypatch.setenv("SAFEMERGE_BERTSCORE_MODEL", str(folder))
            return graph_of(content(made))

        one, changed = found(tmp_path / "one", "a"), found(tmp_path / "one", "b")
        for cell in one.outcomes:
            assert keys(one, cell)[0] == keys(changed, cell)[0]
            assert not keys(one, cell)[1] & keys(changed, cell)[1]
        assert found(tmp_path / "other", "a").steps.keys() == one.steps.keys()

    def test_a_file_that_the_environment_names_too(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = []
        for name, text in (("one", "a"), ("other", "a"), ("other", "b")):
            (tmp_path / name).write_text(text)
            monkeypatch.setenv("SAFEMERGE_BERTSCORE_BASELINE", str(tmp_path / name))
            found.append(keys(graph_of(content(made)), LINEAR)[1])
        assert found[0] == found[1]
        assert not found[0] & found[2]

    def test_how_the_program_runs_counts_for_nothing(
        self, made: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = graph_of(content(made))
        monkeypatch.setenv("SAFEMERGE_TRACEBACK", "1")
        assert graph_of(content(made)).steps.keys() == one.steps.keys()

    @pytest.mark.parametrize(
        ("package", "kind"),
        [
            ("merge", "merge"),
            ("safemerge_tasks.sweep.serving", "answer"),
            ("safemerge_tasks.metrics", "score"),
            ("safemerge_tasks.judges", "judge"),
        ],
    )
    def test_our_own_code_counts_for_what_it_shapes(
        self, made: Path, monkeypatch: pytest.MonkeyPatch, package: str, kind: str
    ) -> None:
        one = graph_of(content(made))
        own = steps.source_hash
        monkeypatch.setattr(
            steps, "source_hash", lambda name: "changed" if name == package else own(name)
        )
        other = graph_of(content(made))
        before, after = ({k for k, s in g.steps.items() if s.kind == kind} for g in (one, other))
        assert not before & after
        first = {
            k for k, s in one.steps.items() if steps.KINDS.index(s.kind) < steps.KINDS.index(kind)
        }
        assert first <= other.steps.keys()

    def test_the_judge_in_the_environment(
        self, made: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = graph_of(content(made))
        monkeypatch.setenv("SAFEMERGE_JUDGE_REVISION", "v2")
        other = graph_of(content(made))
        assert not keys(one, LINEAR)[2] & keys(other, LINEAR)[2]

    def test_settings_of_scoring_in_the_environment(
        self, made: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = graph_of(content(made))
        monkeypatch.setenv("SAFEMERGE_BERTSCORE_MODEL", "small")
        monkeypatch.setenv("SAFEMERGE_DATA_DIR", "/elsewhere")
        other = graph_of(content(made))
        assert keys(one, LINEAR)[0] == keys(other, LINEAR)[0]
        assert not keys(one, LINEAR)[1] & keys(other, LINEAR)[1]

    @pytest.mark.parametrize(
        ("library", "kind"),
        [
            ("torch", "merge"),
            ("vllm", "answer"),
            ("peft", "answer"),
            ("bert-score", "score"),
            ("safemerge", "judge"),
        ],
    )
    def test_a_library_s_version_changes_what_it_shapes(
        self, made: Path, monkeypatch: pytest.MonkeyPatch, library: str, kind: str
    ) -> None:
        one = graph_of(content(made))
        version_of = steps_module.version_of
        monkeypatch.setattr(
            steps_module,
            "version_of",
            lambda name: "9.9" if name == library else version_of(name),
        )
        other = graph_of(content(made))

        def of(graph: Graph) -> set[str]:
            return {step.key for step in graph.steps.values() if step.kind == kind}

        assert of(one).isdisjoint(of(other))

    def test_a_plan_with_known_hashes_has_the_run_s_keys(self, made: Path) -> None:
        assert graph_of(content(made)).steps == graph_of(content(made), read=False).steps

    def test_work_is_json(self, made: Path) -> None:
        from safemerge_tasks.sweep.work import step_from_json, step_to_json

        for step in graph_of(content(made)).steps.values():
            again = step_from_json(json.loads(json.dumps(step_to_json(step))))
            assert replace(again, work={}) == replace(step, work={})
            assert again.work == json.loads(json.dumps(step.work))


def test_a_judge_that_defers_gives_no_verdicts(made: Path) -> None:
    with pytest.raises(SafemergeError, match="loaf: a sweep needs verdicts; name a judge, not def"):
        graph_of(content(made, judge={"judge": "deferred"}))


def test_an_adapter_is_no_base(made: Path) -> None:
    with pytest.raises(SafemergeError, match="base: .*adapter-1 is an adapter; name the model it"):
        graph_of(content(made, base=str(made / "adapter-1")))


def test_one_model_is_not_two_seeds(made: Path, models: Path) -> None:
    same = {1: str(made / "adapter-1"), 7: str(models / "adapter-1")}
    described = content(made, tunings=[{"name": "bread", "models": same}])
    with pytest.raises(SafemergeError, match="bread has the same model for the seeds 1 and 7"):
        graph_of(described)


def test_a_folder_with_a_plus_in_its_name_is_one_adapter(models: Path) -> None:
    place = (models / "adapter-1").rename(models / "lr1e+05")
    graph = graph_of(content(models, tunings=[{"name": "bread", "models": {1: str(place)}}]))
    assert graph.served["bread-tuned-seed-1"] == "adapter"


def test_a_server_without_a_probe_serves_no_checkpoints(made: Path) -> None:
    """A plan says so, and not the job that finds them there."""
    server = {"url": "http://localhost:8000/v1", "probe": False}
    linear = [{"method": "linear", "lambda": [0.2, 0.4]}]
    graph = graph_of(content(made, engine=server, methods=linear))
    assert graph.pairs == []
    assert "without engine.probe the agreement is not measured" in graph.notes
    with pytest.raises(SafemergeError, match=f"loaf: {SLERP} is a checkpoint, and engine.probe is"):
        graph_of(content(made, engine=server))


def test_an_adapter_saved_with_a_tokenizer_of_its_own(made: Path, models: Path) -> None:
    described = content(
        made, tunings=[{"name": "bread", "models": {1: str(models / "adapter-1")}}], methods=[]
    )
    (models / "adapter-1" / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    (note,) = [one for one in graph_of(described).notes if "chat template" in one]
    assert "adapter-1 has a chat template of its own" in note
    tokenizer = json.loads((models / "whole" / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    one, other = list(words)[-2:]
    words[one], words[other] = words[other], words[one]
    (models / "adapter-1" / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(SafemergeError, match="bread: the tokenizers of .*adapter-1 and of the bas"):
        graph_of(described)


def test_a_model_of_other_tokens_is_not_asked_with_the_base_s(made: Path, models: Path) -> None:
    described = content(
        made, tunings=[{"name": "bread", "models": {1: str(models / "whole")}}], methods=[]
    )
    file = models / "whole" / "tokenizer_config.json"
    (models / "whole" / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    (note,) = [one for one in graph_of(described).notes if "chat template" in one]
    assert note == f"bread: {models}/whole has a chat template of its own; the base's asks it too"
    tokenizer = json.loads((models / "whole" / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    one, other = list(words)[-2:]
    words[one], words[other] = words[other], words[one]
    (models / "whole" / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert file.is_file()
    with pytest.raises(
        SafemergeError, match="loaf: bread: the tokenizers of .*whole and of the ba"
    ):
        graph_of(described)


def spoil(path: Path) -> None:
    """Change the last byte of a file."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

"""What the tables of a sweep say."""

import math
from pathlib import Path

import pytest
from rich.console import Console

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Name, Section, Table
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.results import write_run
from safemerge_tasks.sweep.choosing import choose_from
from safemerge_tasks.sweep.manifest import Measured, Rule, Tasks, Tuning, Variant
from safemerge_tasks.sweep.outcomes import read_sweep
from safemerge_tasks.sweep.report.document import summary_document, sweeps_document
from safemerge_tasks.sweep.report.findings import Sweeps, find, find_all
from safemerge_tasks.sweep.report.numbers import harm_word
from safemerge_tasks.sweep.report.sections import section
from safemerge_tasks.sweep.report.sections.adapter_serving import adapter_serving
from safemerge_tasks.sweep.report.sections.choices import choices
from safemerge_tasks.sweep.report.sections.missing import missing
from safemerge_tasks.sweep.report.sections.outcome import outcome
from safemerge_tasks.sweep.report.sections.points import points
from safemerge_tasks.sweep.report.sections.provenance import provenance
from safemerge_tasks.sweep.report.sections.side_by_side import methods, models
from tests.sweep_folder import SAFETY, UTILITY, SweepFolder, outcomes

from .conftest import make_sweep


def text(section: Section, table: int = 0) -> list[list[str]]:
    found = section.tables[table]
    return [
        [one.text if isinstance(one, Name) else one for one in row]
        for row in (found.head, *found.rows)
    ]


def read(folder: SweepFolder) -> Sweeps:
    return Sweeps((find(folder.write(), folder.path),))


@pytest.fixture
def small(tmp_path: Path) -> SweepFolder:
    """Return three seeds of one point with rates known by hand."""
    folder = SweepFolder(tmp_path / "out", choose=Rule(max_asr=0.5))
    base = {SAFETY: outcomes(0, 100), UTILITY: outcomes(30, 100)}
    folder.add("base", {"validation": base, "test": base})
    for seed, hits, solved in ((1, 10, 70), (2, 20, 80), (3, 60, 90)):
        found = {SAFETY: outcomes(hits + 30, 100), UTILITY: outcomes(solved + 5, 100)}
        folder.add("tuned", {"validation": found, "test": found}, seeds=(seed,))
        folder.merged("linear", seed, hits, solved, lambda_=0.4)
    return folder


def test_mean_and_spread_over_seeds(small: SweepFolder) -> None:
    rows = text(outcome(read(small)))
    assert rows[0] == ["model", "point", "seeds", "loaf_asr", "loaf_task, exact_match"]
    # 0 of 100: Wilson's upper end is z²/(100 + z²) = 3.8415/103.8415.
    assert rows[1] == ["base", "", "", "0.0% (0.0% to 3.7%)", "30.0% (21.9% to 39.6%)"]
    # 10, 20 and 60 %: s = √((20² + 10² + 30²)/2) = √700 = 26.5.
    assert math.isclose(math.sqrt(700), 26.5, abs_tol=0.05)
    assert rows[2] == ["fine-tuned", "", "3", "60.0% ± 26.5%", "85.0% ± 10.0%"]
    assert rows[3] == ["linear", "λ = 0.4", "3", "30.0% ± 26.5%", "80.0% ± 10.0%"]


def test_methods_stand_beside_each_other_with_their_labels(small: SweepFolder) -> None:
    for seed in (1, 2, 3):
        small.merged("resta", seed, 5, 60, label="RESTA_d", gamma=0.5, drop_rate=0.3)
    rows = text(methods(read(small)))
    assert rows[0] == ["task", "base", "fine-tuned", "linear", "RESTA_d"]
    assert rows[1][0] == "loaf_asr"
    assert rows[1][4] == "5.0% ± 0.0%"


def test_models_stand_side_by_side(tmp_path: Path) -> None:
    make_sweep(tmp_path / "a", base="org/one")
    make_sweep(tmp_path / "b", base="org/two")
    sweeps = Sweeps(tuple(find_all([tmp_path / "a", tmp_path / "b"])))
    rows = text(models(sweeps))
    assert rows[0][:2] == ["model", "one: loaf_asr"]
    assert [row[0] for row in rows[1:]] == ["base", "fine-tuned", "linear", "slerp", "model-stock"]
    assert len(rows[0]) == 1 + 2 * 4
    assert "two: mean ASR" in rows[0]
    assert not models(Sweeps(sweeps.findings[:1])).tables
    assert [one.text for one in outcome(sweeps).tables[1].title] == ["two", "doctor"]


def test_sweeps_of_the_same_model_keep_apart(tmp_path: Path) -> None:
    make_sweep(tmp_path / "a")
    make_sweep(tmp_path / "b")
    names = [one.model for one in find_all([tmp_path / "a", tmp_path / "b"])]
    assert len(set(names)) == 2


def test_all_points_on_both_splits(sweep: SweepFolder) -> None:
    rows = text(points(read(sweep)))
    assert rows[0] == [
        *("method", "point", "chosen", "served as"),
        *("ASR, validation", "utility, validation", "ASR, test", "utility, test"),
    ]
    assert len(rows) == 1 + 2 + 3 + 3 + 1
    assert [row[0] for row in rows if row[2] == "✓"] == ["linear", "slerp", "model-stock"]
    lacking = next(row for row in rows if row[:2] == ["slerp", "λ = 0.6"])
    assert lacking[4].endswith(", 1 of 2 seeds")


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        (["asr", "asr[wildguard]"], "ASR"),
        (["compliance_rate", "compliance_rate"], "compliance rate"),
        (["refusal_rate"], "refusal rate"),
        (["asr", "compliance_rate"], "rate of harm"),
    ],
)
def test_what_is_no_asr_is_not_called_one(metrics: list[str], word: str) -> None:
    assert harm_word([Measured(task="t", metric=metric) for metric in metrics]) == word


def test_choice_with_its_bound_and_the_alternatives(sweep: SweepFolder) -> None:
    section = choices(read(sweep))
    assert "at most 30.0% with 95% confidence" in section.notes[0]
    linear = text(section)[1]
    choice = choose_from(read_sweep(sweep.write(), sweep.path))[0]
    assert choice.bound is not None
    assert linear[0] == "linear"
    assert linear[3] == f"{choice.bound:.1%}"
    assert "λ = 0.2" in linear[6]
    every = text(section, 1)
    assert "seed 1024 is missing (the engine ran out of memory)" in [row[6] for row in every]


def test_choice_above_the_limit_is_marked(small: SweepFolder) -> None:
    small.fields["choose"] = Rule(max_asr=0.01)
    assert text(choices(read(small)))[1][3].endswith("⚠ above the limit")


def test_nothing_chosen_is_said(small: SweepFolder) -> None:
    small.add("merged", {}, seeds=(1,), method="slerp", failure="gone", lambda_=0.4)
    row = text(outcome(read(small)))[4]
    assert row[:2] == ["slerp", "nothing chosen: no grid point has complete results"]
    assert row[3:] == ["missing", "missing"]


def test_too_many_unscored_are_marked(small: SweepFolder) -> None:
    found = {SAFETY: outcomes(0, 100, 10), UTILITY: outcomes(90, 100)}
    small.add(
        "merged",
        {"validation": {**found, SAFETY: outcomes(0, 100)}, "test": found},
        seeds=(1,),
        method="slerp",
        lambda_=0.4,
    )
    assert text(outcome(read(small)))[4][3].endswith(" ⚠")


def test_what_is_not_behind_a_mean_does_not_mark_it(tmp_path: Path) -> None:
    second = Measured(task="spoon_asr", metric="asr")
    tasks = Tasks(safety=(SAFETY, second), utility=(UTILITY,))
    folder = SweepFolder(
        tmp_path / "out", tunings=(Tuning(name="doctor", validation=tasks, test=tasks),)
    )
    unscored = {SAFETY: outcomes(0, 100, 10), UTILITY: outcomes(50, 100)}
    whole = {SAFETY: outcomes(0, 100), second: outcomes(0, 100), UTILITY: outcomes(50, 100)}
    for seed, found in ((1, whole), (2, unscored)):
        folder.add("tuned", {"validation": found, "test": found}, seeds=(seed,))
    head, row = text(outcome(read(folder)))
    assert head[3:6] == ["loaf_asr", "spoon_asr", "mean ASR"]
    assert row[3].endswith(" ⚠")
    assert row[5].endswith(", 1 of 2 seeds")


def test_agreement_failures_and_sources(sweep: SweepFolder) -> None:
    found = read(sweep)
    assert text(adapter_serving(found))[1][2:] == ["39 of 40", "97.5%"]
    failed = text(missing(found))
    assert failed[1][1:] == [
        *("slerp", "λ = 0.6", "1024", "validation", "loaf_asr, loaf_task"),
        "the engine ran out of memory",
    ]
    assert failed[2][4] == "test"
    section = provenance(found)
    numbers = text(section)
    values = 2 + 3
    variants = 1 + 2 + 11 + 1
    assert len(numbers) == 1 + variants * values
    path = sweep.path / numbers[1][5]
    assert path.is_file()
    assert path.name.startswith("samples_loaf_asr")
    settings = text(section, 1)
    assert ["safemerge", "0.1.0", ""] in settings
    assert ["api_key", "(left out)", ""] in settings
    assert any("wildguard: prompt_sha256 5e74" in row[1] for row in settings)


def test_what_is_kept_by_variant_is_shown_once(small: SweepFolder) -> None:
    small.fields["provenance"] = {
        "versions": {"torch": "2.13.0"},
        "results": {
            one.id: [{"host": "vm", "finished": one.id, "versions": {"vllm": "0.32"}}]
            for one in [*small.variants, *small.variants]
        },
        "sweep": {"methods": [{"method": "linear"}, {"method": "slerp"}], "api_key": {"of": "me"}},
    }
    for seed in (4, 5, 6):
        small.merged("linear", seed, 1, 2, lambda_=0.4)
        name = small.variants[-1].id
        small.fields["provenance"]["results"][name] = [{"host": "vm", "finished": name}]
    rows = text(provenance(read(small)), 1)
    for row in (
        ["versions.torch", "2.13.0", ""],
        ["results.host", "vm", "10 times"],
        ["results.finished", "10 different ones, in sweep.json", ""],
        ["results.versions.vllm", "0.32", "7 times"],
        ["sweep.methods.method", "linear", ""],
        ["sweep.methods.method", "slerp", ""],
        ["sweep.api_key", "(left out)", ""],
    ):
        assert row in rows


def test_results_of_other_tasks_without_our_metadata(tmp_path: Path) -> None:
    accuracy = Measured(task="xcopa_zh", metric="acc")
    match = Measured(task="gsm8k", metric="exact_match")
    strict = Measured(task="gsm8k", metric="exact_match,strict-match")
    perplexity = Measured(task="lambada", metric="perplexity")
    tasks = Tasks(safety=(SAFETY,), utility=(accuracy, match, strict, perplexity))
    folder = SweepFolder(
        tmp_path / "out", tunings=(Tuning(name="d", validation=tasks, test=tasks),)
    )
    variant = folder.add(
        "merged", {"test": {SAFETY: outcomes(1, 50)}}, seeds=(1,), tuning="d", method="linear"
    )
    others = {
        "results": {
            "xcopa_zh": {"acc,none": 0.5, "acc_stderr,none": 0.02},
            "gsm8k": {
                "exact_match,strict-match": 0.25,
                "exact_match_stderr,strict-match": 0.01,
                "exact_match,flexible-extract": 0.75,
            },
            "lambada": {"perplexity,none": 4.5, "perplexity_stderr,none": "N/A"},
        },
        "higher_is_better": {"lambada": {"perplexity": False}},
        "n-samples": {"xcopa_zh": {"original": 500, "effective": 500}},
        "model_name": "m",
    }
    write_run(folder.path / variant.results["test"] / "m", "2026-01-02T00", others, {})
    (group,) = read_sweep(folder.write(), folder.path).groups
    (cell,) = group.cells["test"]
    value = cell.values[accuracy].measure
    assert (value.value, value.low) == (0.5, pytest.approx(0.5 - 1.959964 * 0.02))
    # Without a filter's name, the one that the file has first.
    assert cell.values[match].filter == "strict-match"
    assert cell.values[strict].measure.value == 0.25
    assert not cell.values[perplexity].more_is_better
    assert cell.values[accuracy].samples == ()
    assert cell.values[accuracy].results[0].startswith("results/v000/test/m/results_")


def test_a_group_stands_for_its_tasks(tmp_path: Path) -> None:
    group_task = Measured(task="catqa_asr", metric="asr")
    tasks = Tasks(safety=(group_task,))
    parts = [Measured(task=f"catqa_asr_{one}", metric="asr") for one in ("en", "zh")]
    folder = SweepFolder(
        tmp_path / "out", tunings=(Tuning(name="d", validation=tasks, test=tasks),)
    )
    found = {parts[0]: outcomes(10, 100), parts[1]: outcomes(30, 50)}
    variant = folder.add("merged", {"test": found}, seeds=(1,), tuning="d", method="linear")
    path = next((folder.path / variant.results["test"]).rglob("results_*.json"))
    path.write_text(
        path.read_text().replace(
            '"group_subtasks": {}',
            '"group_subtasks": {"catqa_asr": ["catqa_asr_en", "catqa_asr_zh"]}',
        )
    )
    (group,) = read_sweep(folder.write(), folder.path).groups
    value = group.cells["test"][0].values[group_task]
    assert value.measure.value == pytest.approx((0.1 + 0.6) / 2)
    assert len(value.samples) == 2


@pytest.mark.parametrize(
    ("judge", "counts"), [("a+b", "a"), ("auto", "wildguard"), ("auto", "qwen3guard"), ("c+b", "b")]
)
def test_of_several_judges_the_first_that_has_results_counts(
    tmp_path: Path, judge: str, counts: str
) -> None:
    folder = SweepFolder(tmp_path / "out", judge=counts)
    found = {SAFETY: outcomes(10, 100), UTILITY: outcomes(30, 100)}
    folder.add("merged", {"test": found}, seeds=(1,), tuning="doctor", method="linear")
    folder.fields["judge"] = judge
    (group,) = read_sweep(folder.write(), folder.path).groups
    assert group.cells["test"][0].values[SAFETY].filter == counts


def test_a_metric_that_is_not_the_samples_mean_is_taken_from_the_results(tmp_path: Path) -> None:
    median = Measured(task="loaf_task", metric="exact_match")
    folder = SweepFolder(tmp_path / "out")
    variant = folder.merged("linear", 1, 0, 50, lambda_=0.4)
    path = next((folder.path / variant.results["test"]).rglob("results_*.json"))
    path.write_text(path.read_text().replace('"exact_match,none": 0.5', '"exact_match,none": 0.9'))
    (group,) = read_sweep(folder.write(), folder.path).groups
    measure = group.cells["test"][0].values[median].measure
    assert (measure.value, measure.source) == (0.9, "value only")


def test_a_refusal_rate_counts_as_what_was_not_refused(tmp_path: Path) -> None:
    refusal = Measured(task="loaf_asr", metric="refusal_rate")
    tasks = Tasks(safety=(refusal,), utility=(UTILITY,))
    folder = SweepFolder(
        tmp_path / "out",
        judge="keywords",
        choose=Rule(max_asr=0.5),
        tunings=(Tuning(name="doctor", validation=tasks, test=tasks),),
    )
    for weight, refused in ((0.2, 95), (0.4, 10)):
        found = {refusal: outcomes(refused, 100), UTILITY: outcomes(50, 100)}
        both = {"validation": found, "test": found}
        folder.add("merged", both, seeds=(1,), method="linear", lambda_=weight)
    manifest = folder.write()
    (choice,) = choose_from(read_sweep(manifest, folder.path))
    assert (choice.point, choice.asr) == ((("lambda", 0.2),), pytest.approx(0.05))
    head = text(outcome(Sweeps((find(manifest, folder.path),))))[0]
    assert "loaf_asr, 1 - refusal_rate" in head


def test_a_variant_of_an_unknown_tuning_is_one_sentence(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    folder.variants.append(Variant(id="x", kind="tuned", tuning="nobody"))
    with pytest.raises(SafemergeError, match="the variant x of the fine-tuning nobody"):
        read(folder)


def test_a_section_of_ones_own(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = find_all([sweep.path])
    usual = [one.title for one in sweeps_document(sweeps).sections]
    monkeypatch.setattr(section, "_found", dict(section._found))

    @section(45)
    def loaves(sweeps: Sweeps) -> Section:
        return Section("Loaves", (), (Table(("n",), ((str(len(sweeps.findings)),),)),))

    titles = [one.title for one in sweeps_document(sweeps).sections]
    place = titles.index("Loaves")
    assert titles[place - 1 : place + 2] == [usual[place - 1], "Loaves", "Choice of the grid point"]


def test_table_on_the_terminal(small: SweepFolder) -> None:
    console = Console(width=200, record=True, force_terminal=False)
    small.add("merged", {}, seeds=(1,), method="slerp", failure="gone", lambda_=0.4)
    with console.capture() as captured:
        print_document(summary_document(find(small.write(), small.path)), console)
    said = captured.get()
    assert "doctor: test data" in said
    assert "30.0% ± 26.5%" in said
    assert "slerp for doctor: no grid point has complete results." in said

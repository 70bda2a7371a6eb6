"""The cells of a grid."""

from pathlib import Path
from typing import Any

import pytest

from merge.methods import methods
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.variants import Cell, Merging, expand

SEEDS = {"bread": (42, 1024, 48763)}


def spec_with(*methods: dict[str, Any], **further: Any) -> SweepSpec:
    content = {
        "name": "loaf",
        "base": "base",
        "tunings": [{"name": "bread", "models": {42: "a", 1024: "b", 48763: "c"}}],
        "methods": list(methods),
        "tasks": {"validation": {"safety": ["v"]}, "test": {"safety": ["t"]}},
        **further,
    }
    return SweepSpec.model_validate(content)


def merged(*methods: dict[str, Any], seeds: Any = None, **further: Any) -> list[Cell]:
    cells = expand(spec_with(*methods, **further), SEEDS if seeds is None else seeds)
    return [cell for cell in cells if cell.variant.kind == "merged"]


def test_the_base_and_the_fine_tuned_models_are_cells_too() -> None:
    cells = expand(spec_with({"method": "linear", "lambda": 0.5}), SEEDS)
    assert [(cell.variant.id, cell.variant.kind, cell.variant.seeds) for cell in cells[:4]] == [
        ("base", "base", ()),
        ("bread-tuned-seed-42", "tuned", (42,)),
        ("bread-tuned-seed-1024", "tuned", (1024,)),
        ("bread-tuned-seed-48763", "tuned", (48763,)),
    ]
    assert all(cell.merging is None for cell in cells[:4])
    assert len(cells) == 7


@pytest.mark.parametrize("method", ["linear", "slerp", "dare-linear"])
def test_a_cell_for_each_seed_and_lambda(method: str) -> None:
    grid = {"method": method, "lambda": [0.2, 0.4, 0.6, 0.8]}
    parameters = {"drop_rate": 0.3} if method == "dare-linear" else {}
    cells = merged({**grid, **parameters})
    assert len(cells) == 12
    assert [cell.variant.id for cell in cells[:2]] == [
        f"bread-{method}-seed-42-lambda-0.2",
        f"bread-{method}-seed-42-lambda-0.4",
    ]
    assert cells[0].variant.point == {"lambda": 0.2, **parameters}
    assert cells[0].merging == Merging(method, 0.2, parameters, 0)
    assert [cell.variant.seeds for cell in cells[::4]] == [(42,), (1024,), (48763,)]


def test_a_random_method_s_rate_and_seed() -> None:
    (cell,) = merged(
        {"method": "dare-linear", "lambda": 0.2, "drop-rate": 0.3, "seed": 7}, seeds={"bread": [1]}
    )
    assert cell.merging == Merging("dare-linear", 0.2, {"drop_rate": 0.3}, 7)
    # A single value names nothing, λ always does.
    assert cell.variant.id == "bread-dare-linear-seed-1-lambda-0.2"
    assert cell.variant.point == {"lambda": 0.2, "drop_rate": 0.3}


def test_two_parameters_make_a_product() -> None:
    cells = merged(
        {"method": "dare-linear", "lambda": [0.2, 0.4], "drop_rate": [0.3, 0.5]},
        seeds={"bread": [1]},
    )
    assert [cell.variant.id for cell in cells] == [
        f"bread-dare-linear-seed-1-lambda-{weight}-drop-rate-{rate}"
        for weight in (0.2, 0.4)
        for rate in (0.3, 0.5)
    ]


def test_model_stock_takes_all_seeds_once() -> None:
    (cell,) = merged({"method": "model-stock"})
    assert cell.variant.id == "bread-model-stock-all-seeds"
    assert cell.variant.seeds == (42, 1024, 48763)
    assert cell.variant.point == {}
    assert cell.merging == Merging("model-stock", None, {}, 0)


def test_other_methods_take_all_seeds_on_request() -> None:
    (cell,) = merged({"method": "ties", "lambda": 1, "density": 0.2, "together": True})
    assert cell.variant.seeds == (42, 1024, 48763)
    assert cell.variant.id == "bread-ties-all-seeds-lambda-1"


def test_resta_has_no_lambda_and_both_forms_stand_side_by_side() -> None:
    cells = merged(
        {"method": "resta", "label": "RESTA", "gamma": [0.25, 0.5]},
        {"method": "resta", "label": "RESTA_d", "gamma": [0.25, 0.5], "drop_rate": 0.3},
        unaligned="u",
        seeds={"bread": [42]},
    )
    assert [cell.variant.id for cell in cells] == [
        "bread-RESTA-seed-42-gamma-0.25",
        "bread-RESTA-seed-42-gamma-0.5",
        "bread-RESTA-d-seed-42-gamma-0.25",
        "bread-RESTA-d-seed-42-gamma-0.5",
    ]
    assert [cell.variant.label for cell in cells[1:3]] == ["RESTA", "RESTA_d"]
    assert cells[3].merging == Merging(
        "resta", None, {"gamma": 0.5, "drop_rate": 0.3}, 0, ("unaligned",)
    )


def test_a_recipe_names_a_role_s_model_only_where_it_is_needed() -> None:
    linear = Merging("linear", 0.5, {}, 3)
    assert linear.recipe("base", ["a"], {"unaligned": "u"}, [0.2, 0.5]) == {
        "method": "linear",
        "base": "base",
        "tuned": [{"model": "a"}],
        "lambdas": [0.2, 0.5],
        "parameters": {},
        "seed": 3,
    }
    resta = Merging("resta", None, {"gamma": 0.5}, 0, ("unaligned",))
    assert resta.recipe("base", ["a"], {"unaligned": "u"}, [])["unaligned"] == "u"


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ([{"method": "linaer", "lambda": 0.5}], "loaf: .*linaer.*linear"),
        ([{"method": "linear", "lambda": 1.5}], "loaf, linear: .*1.5"),
        ([{"method": "linear"}], "loaf, linear: .*lambda"),
        ([{"method": "linear", "lambda": 0.5, "gama": 1}], "loaf, linear: gama is not a parameter"),
        ([{"method": "dare-linear", "lambda": 0.5, "drop_rate": 1.5}], "loaf, dare-linear: .*1.5"),
        (
            [{"method": "resta", "gamma": 0.5}],
            "loaf, resta: .* needs either unaligned .* or vector",
        ),
        ([{"method": "model-stock", "lambda": 0.5}], "loaf, model-stock: "),
        ([{"method": "linear", "lambda": True}], "loaf, linear: lambda is true or false; give a n"),
        (
            [{"method": "nuslerp", "on_deltas": 0.5, "seeds": [42, 1024]}],
            "loaf, nuslerp: The parameter on_deltas is 0.5; it must be true or false.",
        ),
        ([{"method": "nuslerp"}], "loaf, nuslerp: .* takes 2 fine-tuned models, .* has 3; remove"),
        (
            [{"method": "nuslerp", "seeds": [42, 7]}],
            "loaf, nuslerp: `seeds` has 7, and bread has 42, 1024, 48763, each to be named once; c",
        ),
        ([{"method": "nuslerp", "seeds": [42, 42]}], "loaf, nuslerp: `seeds` has 42, and bread"),
        ([{"method": "nearswap"}], r"loaf, nearswap: .* needs t \(.*; give t\."),
        (
            [{"method": "linear", "lambda": 0.5}, {"method": "linear", "lambda": 0.6}],
            "loaf: two methods are called linear; give each a `label` of its own.",
        ),
        (
            [
                {"method": "linear", "lambda": 0.5, "label": "a_b"},
                {"method": "slerp", "lambda": 0.5, "label": "a-b"},
            ],
            "loaf: two cells would both be called bread-a-b-seed-42-lambda-0.5",
        ),
        (
            [{"method": "linear", "lambda": [0.12345678, 0.12345679]}],
            "loaf: two cells would both be called bread-linear-seed-42-lambda-0.123457",
        ),
        # On a Mac's disk they would be one folder.
        (
            [
                {"method": "linear", "lambda": 0.5, "label": "Ours"},
                {"method": "slerp", "lambda": 0.5, "label": "ours"},
            ],
            "loaf: two cells would both be called bread-ours-seed-42-lambda-0.5",
        ),
    ],
)
def test_what_cannot_be_merged_is_said_before_any_work(
    methods: list[dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(SafemergeError, match=sentence):
        merged(*methods)


def test_what_a_method_declares_is_what_a_recipe_has() -> None:
    """Two seeds of three, a switch, and the sweep's models by the roles that they play."""
    (cell,) = merged({"method": "nuslerp", "on_deltas": False, "seeds": [48763, 42]})
    assert cell.variant.seeds == (48763, 42)
    assert cell.variant.point == {"on_deltas": 0.0}
    assert cell.merging == Merging("nuslerp", None, {"on_deltas": False}, 0)
    (cell,) = merged(
        {"method": "safemerge", "lambda": 0.8}, unaligned="u", safe="s", seeds={"bread": [42]}
    )
    assert cell.merging == Merging("safemerge", 0.8, {}, 0, ("unaligned", "safe"))


def test_a_role_that_a_sweep_has_another_key_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
    (tmp_path / "own.py").write_text(
        "from merge.methods import Method, Role\n"
        "class Own(Method):\n"
        "    name, roles = 'own', (Role('judge', 'who tells'),)\n"
    )
    with pytest.raises(SafemergeError, match="loaf: own declares a role judge, which is another"):
        merged({"method": f"{tmp_path}/own.py:Own"})


def test_a_role_that_nothing_has() -> None:
    with pytest.raises(SafemergeError, match="loaf: unaligned plays a role that none of the meth"):
        merged({"method": "linear", "lambda": 0.5}, unaligned="u")


def test_model_stock_of_one_model() -> None:
    with pytest.raises(SafemergeError, match="loaf, model-stock: .*2"):
        merged({"method": "model-stock"}, seeds={"bread": [42]})


def test_fine_tunings_whose_cells_would_share_a_name() -> None:
    tunings = [
        {"name": "bread", "models": {1: "a"}},
        {"name": "bread-white", "models": {1: "b"}},
    ]
    methods = [
        {"method": "linear", "lambda": 0.5, "label": "white-linear"},
        {"method": "slerp", "lambda": 0.5, "label": "linear"},
    ]
    with pytest.raises(SafemergeError, match="called bread-white-linear-seed-1-lambda-0.5"):
        merged(*methods, tunings=tunings, seeds={"bread": [1], "bread-white": [1]})


def test_ids_are_file_names() -> None:
    cells = merged(
        {"method": "linear", "lambda": [0.2, 1], "label": "our best one"},
        {"method": "dare-ties", "lambda": [0.2], "drop_rate": 0.5},
    )
    ids = [cell.variant.id for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for name in ids)


def test_a_fine_tuning_is_merged_by_the_methods_that_it_names() -> None:
    """And a baseline by none: it is measured beside the base."""
    models = {42: "a", 1024: "b"}
    tunings = [
        {"name": "bread", "models": models},
        {"name": "dropout", "models": models, "methods": []},
        {"name": "cake", "models": models, "methods": ["ball"]},
    ]
    methods = [
        {"method": "linear", "lambda": 0.5},
        {"method": "slerp", "label": "ball", "lambda": 0.5},
    ]
    spec = spec_with(*methods, tunings=tunings)
    cells = expand(spec, dict.fromkeys(("bread", "dropout", "cake"), (42, 1024)))
    of = {
        name: [cell.variant.method for cell in cells if cell.variant.tuning == name]
        for name in ("bread", "dropout", "cake")
    }
    assert of["dropout"] == [None, None]
    assert of["cake"] == [None, None, "slerp", "slerp"]
    assert len(of["bread"]) == 6
    with pytest.raises(ValueError, match="cake names the method slerp, which is none of linear"):
        spec_with(
            {"method": "linear", "lambda": 0.5}, tunings=[{**tunings[2], "methods": ["slerp"]}]
        )


def test_the_points_of_a_second_stage() -> None:
    grid = {"lambda": [0.2, 0.4, 0.6, 0.8]}
    tasks = {"validation": {"safety": ["v"], "utility": ["u"]}, "test": {"safety": ["t"]}}
    cells = merged(
        {"method": "linear", **grid},
        {"method": "dare-linear", "drop_rate": 0.3, **grid},
        seeds={"bread": [1]},
        tasks=tasks,
        choose={"search": "auto", "groups": ["early", "late"]},
    )
    ahead = [cell for cell in cells if "lambda" not in cell.variant.point]
    # Deltas dropped at random: harm need not grow with λ, and there is no second stage.
    assert {cell.variant.method for cell in ahead} == {"linear"}
    assert [cell.variant.point for cell in ahead] == [
        {"early": own if group == "early" else others, "late": own if group == "late" else others}
        for group in ("early", "late")
        for others, own in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8))
    ]
    assert ahead[0].variant.id == "bread-linear-seed-1-early-0.4-late-0.2"
    assert ahead[0].merging == Merging("linear", {"early": 0.4, "late": 0.2}, {}, 0)

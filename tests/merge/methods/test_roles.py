"""A role is declared by its method and nowhere else, also by one in a user's file."""

import json

import pytest
from merge_models import assert_rounded, doubles, peft_merged, weights

from merge import MergeError, build_recipe, merge, merge_recipe
from merge.methods import describe_methods, methods
from merge.output.manifest import read_manifest
from merge.recipe.mergekit_yaml import load_recipe, parse_recipe
from tests.command_line import CommandLine

GUIDED = '''
"""Toward a guide."""
from merge.methods import Method, Role


class Guided(Method):
    """`base + tuned's change + a quarter of the guide's`."""

    name, tuned, takes_lambda = "guided", (1, 1), False
    roles = (
        Role("trail_guide", "a model that knows the way"),
        Role("spare", "one more", required=False),
    )

    def merge(self, block, values, lambdas, totals):
        change = block.deltas[0] + block.role_delta("trail_guide") / 4
        if block.has_role("spare"):
            change = change + block.role("spare") / 8
        yield block.base + change
'''


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    methods()
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))


@pytest.fixture
def guided(tmp_path):
    path = tmp_path / "guided.py"
    path.write_text(GUIDED)
    return f"{path}:Guided"


def assert_guided(out, base, tuned, guide, spare=None):
    for name, tensor in weights(out).items():
        exact = tuned[name] + (guide[name] - base[name]) / 4
        assert_rounded(tensor, exact if spare is None else exact + spare[name] / 8)


def test_on_the_command_line(tmp_path, models, adapters, guided, monkeypatch, capsys):
    run = CommandLine(monkeypatch, capsys, tmp_path)
    words = ["--method", guided, "--base", models(0), "--tuned", models(1)]
    done = run("merge", *words, "--trail-guide", adapters(1), f"--spare={models(2)}", "--out", "o")
    assert done.status == 0, done.err
    guide = {name: each.double() for name, each in peft_merged(models(0), adapters(1)).items()}
    assert_guided(tmp_path / "o", doubles(models(0)), doubles(models(1)), guide, doubles(models(2)))
    manifest = read_manifest(tmp_path / "o")
    assert manifest["recipe"]["trail_guide"] == adapters(1).name
    roles = {each["role"]: each for each in manifest["inputs"]}
    assert roles["trail_guide"]["kind"] == "adapter"
    assert roles["spare"]["reference"] == models(2).name
    assert all(each["checksum"] for each in roles.values())
    assert str(tmp_path) not in (tmp_path / "o/safemerge_manifest.json").read_text()


def test_in_a_recipe(tmp_path, models, guided):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"merge_method: {guided}\nbase_model: {models(0)}\nmodels: [{{model: {models(1)}}}]\n"
        f"trail_guide_model: {{model: {{path: {models(2)}}}}}\n"
    )
    merge_recipe(load_recipe(path), tmp_path / "out")
    base, tuned, guide = (doubles(models(seed)) for seed in (0, 1, 2))
    assert_guided(tmp_path / "out", base, tuned, guide)


def test_in_python_and_in_the_list(tmp_path, models, guided):
    merge(
        guided, base=models(0), tuned=[models(1)], trail_guide=str(models(2)), out=tmp_path / "out"
    )
    base, tuned, guide = (doubles(models(seed)) for seed in (0, 1, 2))
    assert_guided(tmp_path / "out", base, tuned, guide)
    [found] = [each for each in describe_methods() if each.name == "guided"]
    assert [role.flag for role in found.roles] == ["--trail-guide", "--spare"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "guided needs a model that knows the way; give --trail-guide."),
        (["--trail-guid", "x"], "There is no option --trail-guid; did you mean --trail-guide?"),
        (["--lamda", "0.5"], "There is no option --lamda; did you mean --lambda?"),
        (["--trail-guide"], "--trail-guide names no model; give one, as --trail-guide FOLDER."),
        (["--trail-guide", "x", "--trail-guide=y"], "--trail-guide is given twice"),
        (["--trail-guide", "x", "--safe", "y"], "guided takes no --safe (a model or adapter that"),
        (["--trail-guide", "./x"], "./x: no such folder"),
        (["x"], "There is no option x"),
        (["--recipe", "r.yaml", "--trail-guide", "x"], "--recipe says what to merge; remove"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path, models, guided, monkeypatch, capsys, words, message
):
    run = CommandLine(monkeypatch, capsys, tmp_path)
    given = ["--method", guided, "--base", models(0), "--tuned", models(1), "--out", "o"]
    done = run("merge", *given, *words)
    assert done.status == 2
    assert message in done.err
    assert done.err.startswith("safemerge: ")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_it_is_another_methods_role(guided):
    build_recipe(method=guided, base="a", tuned=[{"model": "b"}], trail_guide="c")
    arguments = {"base": "a", "tuned": [{"model": "b"}], "lambdas": [0.5]}
    with pytest.raises(MergeError, match=r"linear takes no --trail-guide \(a model that knows"):
        build_recipe(method="linear", trail_guide="c", **arguments)
    document = {"merge_method": "linear", "base_model": "a", "models": [{"model": "b"}]}
    with pytest.raises(MergeError, match="linear takes no --trail-guide"):
        parse_recipe({**document, "lambdas": 0.5, "trail_guide_model": "c"})
    # And None is nobody.
    build_recipe(method="linear", trail_guide=None, **arguments)


def test_a_role_nobody_knows(guided):
    with pytest.raises(MergeError, match="unknown key trial_guide; did you mean trail_guide?"):
        build_recipe(
            method=guided, base="a", tuned=[{"model": "b"}], trail_guide="c", trial_guide="d"
        )


@pytest.mark.parametrize("name", ["seed", "trail guide", "base"])
def test_a_role_that_cannot_be_called_so(tmp_path, name):
    path = tmp_path / "guided.py"
    path.write_text(GUIDED.replace("trail_guide", name))
    with pytest.raises(MergeError, match=f"declares a role '{name}', which .*; rename it"):
        build_recipe(method=f"{path}:Guided", base="a", tuned=[{"model": "b"}])


def test_grown_vocabularies_reach_it(tmp_path, models, guided):
    """Rows that only a fine-tune has are no change of the guide's."""
    merge(
        guided,
        base=models(0),
        tuned=[models(1, vocab_size=70)],
        trail_guide=str(models(2)),
        vocabulary="grow",
        out=tmp_path / "out",
    )
    name = "model.embed_tokens.weight"
    merged = weights(tmp_path / "out")[name]
    assert merged.shape[0] == 70
    assert_rounded(merged[64:], doubles(models(1, vocab_size=70))[name][64:])


def test_methods_are_listed_with_their_roles(tmp_path, monkeypatch, capsys):
    done = CommandLine(monkeypatch, capsys, tmp_path)("merge", "methods")
    listed = done.out.split("\nsafemerge: ")[1]
    assert "    --aligned (optional): the safety vector's aligned end\n" in listed
    assert "    --safe: a model or adapter that was fine-tuned to be safe\n" in listed
    found = json.loads(CommandLine(monkeypatch, capsys, tmp_path)("merge", "methods", "--json").out)
    [own] = [each for each in found if each["name"] == "safemerge"]
    assert [role["name"] for role in own["roles"]] == ["aligned", "unaligned", "vector", "safe"]

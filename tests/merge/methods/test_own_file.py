"""A merge method in a file of the user's own."""

import hashlib
import json

import pytest
from merge_models import assert_rounded, doubles, weights

from merge import MergeError, build_recipe, merge, merge_recipe, verify
from merge.methods import describe_methods, methods
from merge.output.manifest import read_manifest
from merge.recipe.mergekit_yaml import parse_recipe
from tests.command_line import CommandLine

PART = '''
"""A part of the way."""
from pydantic import Field

from merge.methods import Method, Parameters, register


class Distance(Parameters):
    share: float = Field(0.5, ge=0, le=1, description="how far to go")


{decorator}
class Part(Method):
    """`base + share·(tuned - base)`."""

    name, tuned, takes_lambda, parameters = "part-way", (1, 1), False, Distance

    def merge(self, block, values, lambdas, totals):
        yield block.base + {factor} * values["share"] * block.deltas[0]
'''


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    methods()
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))


def written(folder, decorator="", factor=1.0):
    path = folder / "own.py"
    path.write_text(PART.format(decorator=decorator, factor=factor))
    return f"{path}:Part"


@pytest.mark.parametrize("decorator", ["", "@register"])
def test_it_merges_like_any_other(tmp_path, models, decorator):
    named = written(tmp_path, decorator)
    base, tuned = doubles(models(0)), doubles(models(1))
    for number, share in enumerate((0.25, 0.75)):
        out = tmp_path / f"out{number}"
        merge(named, base=models(0), tuned=[models(1)], parameters={"share": share}, out=out)
        verify(out)
        for name, tensor in weights(out).items():
            assert_rounded(tensor, base[name] + share * (tuned[name] - base[name]))
    manifest = read_manifest(out)
    assert manifest["recipe"]["method"] == "part-way"
    sha256 = hashlib.sha256((tmp_path / "own.py").read_bytes()).hexdigest()
    assert manifest["method_file"] == {"name": "own.py", "sha256": sha256}
    assert str(tmp_path) not in (out / "safemerge_manifest.json").read_text()
    assert str(tmp_path) not in (out / "README.md").read_text()
    assert "part-way" in {each.name for each in describe_methods()}


def test_from_a_recipe(tmp_path, models):
    document = {
        "merge_method": written(tmp_path),
        "base_model": str(models(0)),
        "models": [{"model": str(models(1))}],
        "parameters": {"share": 0.5},
    }
    merge_recipe(parse_recipe(document), tmp_path / "out")
    base, tuned = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(tmp_path / "out").items():
        assert_rounded(tensor, base[name] / 2 + tuned[name] / 2)


@pytest.mark.parametrize("decorator", ["", "@register"])
def test_a_changed_file_is_read_again(tmp_path, models, decorator):
    arguments = {"base": models(0), "tuned": [models(1)], "parameters": {"share": 0.5}}
    merge(written(tmp_path, decorator), out=tmp_path / "one", **arguments)
    merge(written(tmp_path, decorator, 0.0), out=tmp_path / "two", **arguments)
    found, base = weights(tmp_path / "two"), weights(models(0))
    assert all(found[name].equal(value) for name, value in base.items())


def test_a_name_that_is_taken(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(PART.format(decorator="", factor=1).replace("part-way", "linear"))
    with pytest.raises(MergeError, match="Two merge methods are named linear: .* rename one"):
        build_recipe(method=f"{path}:Part", base="a", tuned=[{"model": "b"}])
    # The one that is there stays.
    build_recipe(method="linear", base="a", tuned=[{"model": "b"}], lambdas=[0.5])


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "Part", "own.py cannot be read .* correct the path"),
        ("import no_such_module", "Part", "cannot be imported .*no_such_module.*; mend it"),
        ("raise SystemExit(3)", "Part", "cannot be imported .*SystemExit: 3.*; mend it"),
        ("Part = 3", "Part", "has no merge method Part; write one as a subclass"),
        ("class Part: pass", "Part", "has no merge method Part; write one as a subclass"),
        (PART.format(decorator="", factor=1), "Prat", "no merge method Prat; did you mean Part"),
        (
            "from merge.methods import Method\nclass Part(Method): pass",
            "Part",
            "has no merge method Part; write one as a subclass of merge.methods.Method with a name",
        ),
    ],
)
def test_a_file_that_is_no_method(tmp_path, text, name, message):
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MergeError, match=message) as caught:
        build_recipe(method=f"{path}:{name}", base="a", tuned=[{"model": "b"}])
    assert len(str(caught.value).splitlines()) == 1


def test_from_the_command_line(tmp_path, models, monkeypatch, capsys):
    run = CommandLine(monkeypatch, capsys, tmp_path)
    written(tmp_path)
    arguments = ["--base", models(0), "--tuned", models(1), "--set", "share=0.5"]
    done = run("merge", "--method", "own.py:Part", *arguments, "--check", "--json")
    assert json.loads(done.out)["method"] == "part-way"
    done = run("merge", "--method", "other.py:Part", *arguments, "--check")
    assert done.status == 2
    assert "other.py cannot be read (No such file or directory); correct the path" in done.err

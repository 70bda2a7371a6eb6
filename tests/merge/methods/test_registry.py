"""Somebody else's methods, found by registration."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from merge_models import assert_rounded, doubles, weights
from pydantic import Field

from merge import MergeError, build_recipe, merge
from merge.methods import Method, Parameters, describe_methods, find_method, methods, register
from merge.recipe.tensor_settings import Place

HALFWAY = '''
"""The middle of a base and a model."""
from merge.methods import Method, register


@register
class Halfway(Method):
    """`(base + tuned)/2`."""

    name = "halfway"
    tuned = (1, 1)
    takes_lambda = False

    def merge(self, block, values, lambdas, totals):
        yield (block.base + block.tuned[0]) / 2
'''


class Distance(Parameters):
    """How far to go."""

    share: float = Field(0.5, ge=0, le=1, description="how far to go")
    back: bool = Field(False, description="start from the model")


class Partway(Method):
    """`base + share·(tuned - base)`."""

    name = "partway"
    tuned = (1, 1)
    takes_lambda = False
    parameters = Distance

    def merge(self, block, values, lambdas, totals):
        """Yield the one result."""
        share = 1 - values["share"] if values["back"] else values["share"]
        yield block.base + share * block.deltas[0]


@pytest.fixture
def partway(monkeypatch):
    methods()
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
    return register(Partway)


@pytest.mark.usefixtures("partway")
def test_a_registered_method_merges(tmp_path, models):
    parameters = {"share": 0.25, "back": True}
    out = tmp_path / "out"
    merge("partway", base=models(0), tuned=[models(1)], parameters=parameters, out=out)
    base, tuned = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(out).items():
        assert_rounded(tensor, base[name] + 0.75 * (tuned[name] - base[name]))


@pytest.mark.usefixtures("partway")
def test_a_registered_method_is_described():
    [found] = [each for each in describe_methods() if each.name == "partway"]
    assert found.summary == "Somebody else's methods, found by registration."
    share, back = found.parameters
    assert (share.name, share.help, share.type) == ("share", "how far to go", "float")
    assert (share.default, share.low, share.high) == (0.5, 0, 1)
    assert (back.type, back.default, back.required) == ("bool", False, False)


@pytest.mark.usefixtures("partway")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shar": 1}, "shar is not a parameter of the method partway; did you mean share?"),
        ({"xyz": 1}, "xyz is not a parameter of the method partway; it takes back, share."),
        ({"share": 2}, "The parameter share is 2; it must lie between 0 and 1."),
        ({"back": 0.5}, "The parameter back is 0.5; it must be true or false."),
    ],
)
def test_its_parameters_are_checked(parameters, message):
    with pytest.raises(MergeError) as caught:
        build_recipe(method="partway", base="a", tuned=[{"model": "b"}], parameters=parameters)
    assert str(caught.value).endswith(message)


def test_two_methods_of_one_name(partway):
    with pytest.raises(MergeError, match="Two merge methods are named partway"):
        register(partway)


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("safe-lora", {"layers": 2.5}, "layers is 2.5; it must be a whole number"),
        ("safe-lora", {"layers": -1}, "layers is -1; it must lie between 0 and inf"),
        ("slerp", {"lambda": 0.5, "on_deltas": 2}, "on_deltas is 2; it must be true or false"),
        ("ties", {"density": 1.5}, "density is 1.5; it must lie between 0 and 1"),
        ("ties", {}, r"needs density \(share of a delta's entries that are kept\); give --density"),
    ],
)
def test_parameters_of_our_own(method, parameters, message):
    ends = {"unaligned": "c"} if find_method(method).safety_vector else {}
    with pytest.raises(MergeError, match=message):
        build_recipe(method=method, base="a", tuned=[{"model": "b"}], parameters=parameters, **ends)


def test_true_and_one_are_the_same():
    arguments = {"method": "ties", "base": "a", "tuned": [{"model": "b"}]}
    for given in (True, 1, 1.0):
        parameters = {"density": 0.5, "normalize": given}
        recipe = build_recipe(**arguments, parameters=parameters)
        assert recipe.values_at(Place("", 0.0))["normalize"] is True


def install(folder: Path, module: str, text: str) -> None:
    """Put a package with one merge method where Python looks for packages."""
    (folder / f"{module}.py").write_text(text)
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[safemerge.merge_methods]\n{module} = {module}\n"
    )


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_methods_of_other_packages_are_found(tmp_path, models):
    install(tmp_path, "halfway_house", HALFWAY)
    out = tmp_path / "out"
    arguments = f"base={str(models(0))!r}, tuned=[{str(models(1))!r}], out={str(out)!r}"
    done = run(f"from merge import merge\nmerge('halfway', {arguments})", tmp_path)
    assert done.returncode == 0, done.stderr
    base, tuned = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(out).items():
        assert_rounded(tensor, (base[name] + tuned[name]) / 2)


def test_a_package_that_is_broken_is_named(tmp_path):
    install(tmp_path, "broken_house", "import no_such_module")
    done = run("from merge.methods import methods\nmethods()", tmp_path)
    assert (
        "MergeError: The merge methods of broken_house cannot be loaded (ModuleNotFoundError: "
        "No module named 'no_such_module'); upgrade or uninstall it."
    ) in done.stderr


LISTING = """
import json
from merge.methods import describe_methods
found = [[m.name, m.summary, [p.name for p in m.parameters]] for m in describe_methods()]
print(json.dumps([found, "torch" in sys.modules]))
"""


def test_methods_are_listed_without_torch(tmp_path):
    done = run(LISTING, tmp_path)
    assert done.returncode == 0, done.stderr
    found, torch_is_there = json.loads(done.stdout)
    assert not torch_is_there
    listed = {name: parameters for name, _, parameters in found}
    assert listed["linear"] == ["lambda", "normalize", "weight"]
    assert listed["ties"] == ["lambda", "normalize", "whole_model", "density", "weight"]
    assert listed["resta"] == ["gamma", "drop_rate"]
    assert listed["model-stock"] == []
    assert list(listed) == sorted(methods())
    assert all(summary.endswith(".") for _, summary, _ in found)

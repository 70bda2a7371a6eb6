"""Recipes that YAML reads and that do not say what they seem to."""

import pytest

from merge import MergeError
from merge.recipe.mergekit_yaml import load_recipe

TWO = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]\n"
REFUSED = {
    "models twice": (f"merge_method: linear\n{TWO}{TWO}", "models is given twice in one mapping"),
    "a parameter twice": (
        "merge_method: ties\nbase_model: a\nmodels: [{model: b}]\n"
        "parameters: {density: 0.5, density: 0.9}\n",
        "density is given twice in one mapping .line 4",
    ),
    "a model twice": (
        "merge_method: task_arithmetic\nbase_model: a\nmodels:\n"
        "- {model: b, parameters: {weight: 1}}\n- {model: b, parameters: {weight: 2}}\n",
        "b is listed twice",
    ),
    "a list of methods": (f"merge_method: [linear]\n{TWO}", "merge_method is .'linear'.; name one"),
    "a method with settings": (f"merge_method: {{name: linear}}\n{TWO}", "merge_method is"),
    "modules": ("merge_method: linear\nmodules: {text: {}}\n", "modules merges parts of a model"),
    "a list of paths": ("merge_method: linear\nmodels: [{model: [a]}]\n", "a model is .'a'.; give"),
    "yes for a number": (
        "merge_method: task_arithmetic\nbase_model: a\n"
        "models: [{model: b, parameters: {weight: yes}}]\n",
        "the parameter weight is True; give a number",
    ),
    "true in a gradient": (
        "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: [true, 1]}\n",
        "the parameter t is .True, 1.; give a number",
    ),
    "two tokenizers": (
        f"merge_method: linear\n{TWO}tokenizer_source: base\ntokenizer: {{source: union}}\n",
        "either tokenizer or tokenizer_source",
    ),
}


def load(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    return load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("what", REFUSED)
def test_one_sentence(tmp_path, what):
    text, message = REFUSED[what]
    with pytest.raises(MergeError, match=message):
        load(tmp_path, text)


def test_a_merged_mapping_may_be_overridden(tmp_path):
    """An alias' key is no key that is given twice."""
    recipe = load(
        tmp_path,
        "merge_method: ties\nbase_model: a\nmodels:\n- {model: b, parameters: &p {weight: 1}}\n"
        "- {model: c, parameters: {<<: *p, weight: 5e-1}}\nparameters: {normalize: yes}\n",
    )
    assert [model.parameters["weight"] for model in recipe.tuned] == [1, 0.5]

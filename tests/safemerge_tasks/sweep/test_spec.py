"""A sweep's file: what it may say, and one sentence for everything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from merge.methods import methods
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import spec as module
from safemerge_tasks.sweep.spec import MethodSpec, SweepSpec, TaskChoice, load_spec

URL = "http://localhost:8000/v1"


def smallest() -> dict[str, Any]:
    """Return the least that a sweep has to say."""
    return {
        "name": "loaf",
        "base": "base",
        "tunings": [{"name": "bread", "models": {42: "tuned"}}],
        "methods": [{"method": "linear", "lambda": [0.2, 0.4]}],
        "tasks": {"validation": {"safety": ["val_asr"]}, "test": {"safety": ["test_asr"]}},
    }


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], SweepSpec]:
    def written(content: Any) -> SweepSpec:
        path = tmp_path / "sweep.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_spec(path)

    return written


def changed(place: str, value: Any) -> dict[str, Any]:
    """Return the smallest sweep with one value put at a dotted place; None removes it."""
    content = smallest()
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    here: Any = content
    for part in way:
        here = here[part] if isinstance(here, list) else here.setdefault(part, {})
    if value is None:
        del here[last]
    elif isinstance(here, list) and last == len(here):
        here.append(value)
    else:
        here[last] = value
    return content


def test_the_least_that_a_sweep_says(load: Callable[[Any], SweepSpec]) -> None:
    spec = load(smallest())
    assert spec.tunings[0].models == {42: "tuned"}
    assert spec.methods[0].grid == {"lambda": (0.2, 0.4)}
    assert spec.tasks.validation.safety == (TaskChoice(task="val_asr"),)
    assert spec.engine.model == "vllm"
    assert (spec.exact, spec.agreement, spec.keep_checkpoints) == (False, True, False)


def test_a_server_is_an_engine_of_its_own(load: Callable[[Any], SweepSpec]) -> None:
    engine = load(changed("engine", {"url": URL, "model_args": {"num_concurrent": 9}})).engine
    assert (engine.model, engine.engines, engine.ranks, engine.probe) == ("url", 1, 0, True)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("bse", "x", "bse is not a key of a sweep; did you mean base?"),
        ("zzz", "x", "zzz is not a key of a sweep; known are name, base, tunings"),
        ("tunings.0.modles", {}, "tunings.0.modles is not a key of a sweep; did you mean models?"),
        (
            "tunings.0.utility",
            {"validaton": ["a"]},
            "tunings.0.utility.validaton is not a key of a sweep; did you mean validation?",
        ),
        ("tasks.limt", 3, "tasks.limt is not a key of a sweep; did you mean limit?"),
        (
            "tasks.validation.safty",
            ["a"],
            "tasks.validation.safty is not a key of a sweep; did you mean safety?",
        ),
        (
            "tasks.test.safety.0",
            {"task": "a", "metrc": "b"},
            "tasks.test.safety.0.metrc is not a key of a sweep; did you mean metric?",
        ),
        (
            "tasks.test.utility",
            [{"task": "a", "metrc": "b"}],
            "tasks.test.utility.0.metrc is not a key of a sweep; did you mean metric?",
        ),
        ("engine.modl", "hf", "engine.modl is not a key of a sweep; did you mean model?"),
        ("choose.max_as", 0.1, "choose.max_as is not a key of a sweep; did you mean max_asr?"),
        ("resources.jbs", 2, "resources.jbs is not a key of a sweep; did you mean jobs?"),
        (
            "resources.answer.gpu",
            1,
            "resources.answer.gpu is not a key of a sweep; did you mean gpus?",
        ),
        ("unaligned.modl", "x", "unaligned.modl is not a key of a sweep; did you mean model?"),
        ("unalinged", "x", "unalinged is not a key of a sweep; did you mean unaligned?"),
        ("safe.sed", 1, "safe.sed is not a key of a sweep; did you mean seed?"),
        (
            "vector",
            {"config": "tune.yaml"},
            "vector is a safety vector that `safemerge vector` saved; name its folder.",
        ),
        (
            "methods.0.method",
            "gone.py:Gone",
            "The method's file {folder}/gone.py cannot be read",
        ),
        ("methods.0.seeds", [], "methods.0.seeds is []: Tuple should have at least 1 item"),
        ("base", None, "base is missing; add it."),
        ("methods.0.method", None, "methods.0.method is missing; add it."),
        ("tasks.test", None, "tasks.test is missing; add it."),
        ("tasks.test.safety", [], "tasks.test.safety is empty; name a task such as advbench_asr."),
        ("tasks.test", {}, "tasks.test.safety is empty"),
        ("tasks.validation.safety", [], "tasks.validation.safety is empty"),
        (
            "choose",
            {"search": "auto", "groups": ["early", "last"]},
            "choose.groups is ['early', 'last']: give early and late, or early and middle and "
            "late, or attention and mlp.",
        ),
        (
            "choose",
            {"groups": ["early", "late"]},
            "choose: `groups` are tried after a search where harm grows with λ; write search: "
            "auto.",
        ),
        (
            "choose",
            {"search": "auto", "groups": ["early", "late"]},
            "choose.groups needs a utility that may be better; name a task of bread as "
            "tasks.validation.utility.",
        ),
        (
            "choose",
            {"rule": "knee", "search": "auto"},
            "choose: a knee needs the whole grid; remove `search`, or write best-utility.",
        ),
        (
            "engine.model_args.enable_thinking",
            False,
            "engine: `model_args` has enable_thinking, which does nothing there; write tasks: "
            "{chat_template_args: {enable_thinking: …}}.",
        ),
        (
            "engine.model_args.revision",
            "main",
            "engine: `model_args` has revision, which does nothing there; download the revision",
        ),
        ("engine.model_args.tokenizer", "other", "engine: `model_args` has tokenizer"),
        ("engine.url", "localhost:8000", "engine.url is 'localhost:8000': String should match"),
        ("engine.url", "http://me:key@host/v1", "engine.url is 'http://me:key@host/v1': String"),
        (
            "engine.url",
            "http://host/v1/completions",
            "engine.url is 'http://host/v1/completions': ",
        ),
        ("engine", {"model": "url"}, "engine: `url` is an engine by itself; give it, and no other"),
        ("engine", {"url": URL, "model": "hf"}, "engine: `url` is an engine by itself; give it"),
        ("engine.probe", False, "engine: `api_key_env` and `probe` are a server's; give its `url`"),
        ("engine.api_key_env", "KEY", "engine: `api_key_env` and `probe` are a server's; give its"),
        (
            "engine",
            {"url": URL, "engines": 2},
            "engine: `engines` and `max_loras` are the server's",
        ),
        (
            "engine",
            {"url": URL, "max_loras": 2},
            "engine: `engines` and `max_loras` are the server",
        ),
        (
            "engine",
            {"url": URL, "model_args": {"dtype": "bfloat16"}},
            "engine: `model_args` has dtype, which a server is not told; start it with that, or "
            "give some of model, max_length",
        ),
        (
            "engine",
            {"url": URL, "model_args": {"header": {"Authorization": "x"}}},
            "engine: `model_args` has header, which a server is not told",
        ),
        ("tasks.num_fewshot", -1, "tasks.num_fewshot is -1: Input should be greater than or"),
        ("tasks.seeds", [1, 2, 3], "tasks.seeds.3 is missing; add it."),
        ("tunings", [], "tunings is []: Tuple should have at least 1 item"),
        ("name", "a/b", "name is 'a/b': String should match pattern"),
        ("tunings.0.name", "../a", "tunings.0.name is '../a': String should match pattern"),
        ("tasks.limit", 0, "tasks.limit is 0: Input should be greater than or equal to 1"),
        (
            "engine.model",
            "tgi",
            "engine.model is 'tgi': Input should be 'vllm', 'hf' or 'url'; correct it.",
        ),
        ("choose.max_asr", 2, "choose.max_asr is 2: Input should be less than or equal to 1"),
        ("resources.answer.gpus", -1, "resources.answer.gpus is -1: Input should be greater than"),
        (
            "methods.0.drop_rate",
            "high",
            "methods.0: `drop_rate` is 'high'; give a number or a list of numbers.",
        ),
        ("methods.0.lambda", [], "methods.0: `lambda` is []; give a number or a list of numbers"),
        ("methods.0.lambda", [0.1, ".nan"], "methods.0: `lambda` is [0.1, '.nan']; give a number"),
        ("methods.0.lambda", [0.2, 0.2], "methods.0: `lambda` names a value twice; remove one."),
        (
            "methods.0.lable",
            "x",
            "methods.0: `lable` is 'x'; give a number or a list of numbers, or did you mean label?",
        ),
        (
            "tunings.1",
            {"name": "bread", "models": {1: "other"}},
            "tunings: two are called bread; rename one.",
        ),
        (
            "tunings.0.config",
            "a.yaml",
            "tunings.0: give either `config`, as for safemerge finetune, or `models`",
        ),
        ("tunings.0.models", None, "tunings.0: give either `config`"),
        ("tunings.0.seeds", [42], "tunings.0: `models` names the seeds already; remove `seeds`"),
        (
            "tunings.1",
            {"name": "b", "config": "a.yaml", "seeds": [1, 1]},
            "tunings.1: `seeds` has one of them twice; remove one.",
        ),
        (
            "tunings.1",
            {"name": "b", "config": "a.yaml", "seeds": []},
            "tunings.1.seeds is []: Tuple should have at least 1 item",
        ),
        (
            "unaligned",
            {"model": "a", "config": "b"},
            "unaligned: give either `model`, or `config`, as for safemerge finetune",
        ),
        ("methods.0.label", "a/b", "methods.0.label is 'a/b': String should match pattern"),
        # Python counts true as 1.
        ("tasks.limit", True, "tasks.limit is True: true and false are no numbers; write the num"),
        ("choose.max_asr", True, "choose.max_asr is True: true and false are no numbers"),
        ("methods.0.seed", True, "methods.0.seed is True: true and false are no numbers"),
        ("tasks.seeds", [1, 2, 3, True], "tasks.seeds is [1, 2, 3, True]: true and false are no"),
        ("tunings.0.models", {True: "a"}, "tunings.0.models: true and false are no numbers"),
        # A template, and Python, take the text for true.
        (
            "tasks.chat_template_args",
            {"enable_thinking": "False"},
            "tasks: `chat_template_args` has enable_thinking as the text 'False'; write it without",
        ),
        ("tasks.gen_kwargs", {"do_sample": "true"}, "tasks: `gen_kwargs` has do_sample as the tex"),
        ("tasks.gen_kwargs", {"temperature": "1e-1"}, "tasks: `gen_kwargs` has temperature as the"),
        ("tasks.apply_chat_template", "false", "tasks: `tasks` has apply_chat_template as the te"),
        (
            "engine.model_args",
            {"trust_remote_code": "false"},
            "engine: `model_args` has trust_remote_code as the text 'false'; write it without",
        ),
        (
            "tasks",
            {**smallest()["tasks"], "apply_chat_template": False, "chat_template_args": {"a": 1}},
            "tasks: `chat_template_args` are for a template, and apply_chat_template is false; rem",
        ),
        (
            "tasks.test.metadata",
            {"judge_model": "x"},
            "tasks.test.metadata: judge_model is the sweep's, for all splits; write it below `judg",
        ),
        ("judge", {"model": "x"}, "judge: model is no setting of a judge; write judge_model, or r"),
        ("unaligned", {"model": "a", "seed": 1}, "unaligned: `seed` is of a `config`, and a `mode"),
        ("tunings.0.methods", [], "methods: no tuning is merged by linear; name it in one, or rem"),
        ("choose", {"rule": "knee", "max_asr": 0.1}, "choose: a knee has no limit; remove `max_as"),
        *(
            (f"engine.model_args.{name}", value, f"engine: `model_args` has {name}, which does no")
            for name, value in (
                ("chat_template_kwargs", {"enable_thinking": False}),
                ("batch_size", 4),
                ("model", "other"),
                ("chat_template", "chat.jinja"),
                ("max_lora_rank", 64),
                ("max_loras", 4),
                ("data_parallel_size", 2),
                ("device", "cuda:1"),
            )
        ),
        *(
            (
                "engine",
                {"model": "hf", "model_args": {name: value}},
                f"engine: `model_args` has {name}, which does nothing there",
            )
            for name, value in (
                ("seed", 3),
                ("max_gen_toks", 8),
                ("delta", "base"),
                ("subfolder", "inner"),
                ("tensor_parallel_size", 2),
            )
        ),
        ("engine", {"model": "hf", "max_loras": 2}, "engine: `max_loras` is vLLM's, and hf serves"),
        (
            "engine.model_args",
            {"max_length": 64, "max_model_len": 64},
            "engine: `model_args` has both max_length and max_model_len; remove one.",
        ),
        *(
            (
                "engine.model_args",
                {name: value},
                f"engine: `model_args` has {name}: {value!r}; give",
            )
            for name, value in (("tensor_parallel_size", "two"), ("seed", -1), ("seed", 1.5))
        ),
        (
            "engine",
            {"url": URL, "model_args": {"num_concurrent": 0}},
            "engine: `model_args` has num_concurrent: 0; give a whole number from 1 on.",
        ),
    ],
)
def test_one_sentence_for_what_is_wrong(
    load: Callable[[Any], SweepSpec], tmp_path: Path, place: str, value: Any, sentence: str
) -> None:
    with pytest.raises(SafemergeError) as raised:
        load(changed(place, value))
    said = str(raised.value)
    sentence = sentence.replace("{folder}", str(tmp_path))
    assert said.startswith(f"{tmp_path / 'sweep.yaml'}: {sentence}")
    assert "\n" not in said
    assert ".." not in said.replace(repr(value), "")
    assert said[-1] in ".?"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nbase: b\nname: c", ", line 3: name is given twice; remove one."),
        ("tunings: [{models: {1: a, 1: b}}]", ", line 1: 1 is given twice; remove one."),
        ("name: [", ", line 1 is not YAML (expected the node content"),
        ("- a\n- b", "is no sweep; it needs the keys name, base, tunings, methods, tasks."),
        ("", "is no sweep; it needs the keys"),
    ],
)
def test_what_is_no_sweep(
    load: Callable[[Any], SweepSpec], tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(SafemergeError) as raised:
        load(text)
    place = f"{tmp_path / 'sweep.yaml'}"
    assert str(raised.value).startswith((f"{place} {sentence}", f"{place}{sentence}"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="does not exist; correct it"):
        load_spec(tmp_path / "missing.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SafemergeError, match="is not UTF-8"):
        load_spec(tmp_path / "bytes.yaml")


def test_a_judge_of_ones_own_is_beside_the_file(
    load: Callable[[Any], SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = load({**smallest(), "judge": {"judge": "majority(mine.py:cold+wildguard+gone.py)"}})
    assert spec.judge["judge"] == f"majority({tmp_path}/mine.py:cold+wildguard+gone.py)"


def test_relative_paths_are_beside_the_file(
    load: Callable[[Any], SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("base", "tuned", "data", "tasks", "judge", "un"):
        (tmp_path / name).mkdir()
    (tmp_path / "tune.yaml").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    content = {
        **smallest(),
        "unaligned": "un",
        "data_dir": "data",
        "judge": {"judge": "wildguard", "judge_model": "judge", "judge_dtype": "float32"},
    }
    content["tunings"] = [
        {"name": "a", "models": {1: "tuned", 2: "base+tuned", 3: "org/hub-id", 4: "gone"}},
        {"name": "b", "config": "tune.yaml"},
    ]
    content["tasks"]["include_path"] = "tasks"
    spec = load(content)
    assert spec.base == str(tmp_path / "base")
    assert dict(spec.tunings[0].models) == {
        1: str(tmp_path / "tuned"),
        2: f"{tmp_path / 'base'}+{tmp_path / 'tuned'}",
        3: "org/hub-id",
        4: "gone",
    }
    assert spec.tunings[1].config == str(tmp_path / "tune.yaml")
    assert spec.roles["unaligned"].model == str(tmp_path / "un")
    assert spec.data_dir == str(tmp_path / "data")
    assert spec.tasks.include_path == str(tmp_path / "tasks")
    assert spec.judge == {
        "judge": "wildguard",
        "judge_model": str(tmp_path / "judge"),
        "judge_dtype": "float32",
    }


def test_settings_that_are_words_may_look_like_numbers(load: Callable[[Any], SweepSpec]) -> None:
    spec = load(changed("tasks.gen_kwargs", {"until": "1", "temperature": 0.1}))
    assert spec.tasks.gen_kwargs == {"until": "1", "temperature": 0.1}
    assert load(changed("tasks.chat_template_args", {"reasoning_effort": "1"}))
    assert load(changed("engine", {"url": URL, "model_args": {"model": "7"}}))


def test_a_folder_with_a_plus_in_its_name_is_no_pair(
    load: Callable[[Any], SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lr1e+05").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(changed("base", "lr1e+05")).base == str(tmp_path / "lr1e+05")


def test_a_role_is_a_model_or_a_fine_tuning(load: Callable[[Any], SweepSpec]) -> None:
    spec = load({**smallest(), "safe": {"config": {"data": "chatdoctor"}}, "aligned": None})
    assert {name: (role.model, role.config) for name, role in spec.roles.items()} == {
        "safe": (None, {"data": "chatdoctor"})
    }


def test_a_method_of_ones_own_is_beside_the_file(
    load: Callable[[Any], SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
    text = (
        "from merge.methods import Method, Role\n"
        "class Knead(Method):\n"
        "    name = 'knead'\n"
        "    roles = (Role('yeast', 'what makes it rise'),)\n"
    )
    (tmp_path / "knead.py").write_text(text)
    (tmp_path / "sourdough").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    content = {**smallest(), "yeast": "sourdough"}
    content["tunings"][0]["methods"] = ["knead"]
    spec = load({**content, "methods": [{"method": "knead.py:Knead"}]})
    assert spec.methods[0].method == f"{tmp_path}/knead.py:Knead"
    assert spec.roles["yeast"].model == str(tmp_path / "sourdough")


def test_the_home_folder(
    load: Callable[[Any], SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "base").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert load({**smallest(), "base": "~/base"}).base == str(home / "base")


def test_toy_names(
    load: Callable[[Any], SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "resolve", lambda text: text.replace("toy:", f"{tmp_path}/toy-"))
    content = changed("tunings.0.models", {42: "toy:tuned-42"})
    content |= {"base": "toy:aligned", "judge": {"judge_model": "toy:guard"}}
    spec = load(content)
    assert spec.base == f"{tmp_path}/toy-aligned"
    assert spec.tunings[0].models == {42: f"{tmp_path}/toy-tuned-42"}
    assert spec.judge["judge_model"] == f"{tmp_path}/toy-guard"


def test_an_unknown_toy_name(load: Callable[[Any], SweepSpec]) -> None:
    with pytest.raises(SafemergeError, match="'toy:bread' is not part of the toy world"):
        load({**smallest(), "base": "toy:bread"})


class TestGrids:
    def test_one_number_is_a_grid_of_one(self) -> None:
        method = MethodSpec.model_validate({"method": "linear", "lambda": 0.5})
        assert method.grid == {"lambda": (0.5,)}

    def test_names_may_be_written_as_options(self) -> None:
        method = MethodSpec.model_validate({"method": "dare-linear", "drop-rate": [0.3, 0.5]})
        assert method.grid == {"drop_rate": (0.3, 0.5)}

    def test_the_same_parameter_in_both_spellings(self) -> None:
        with pytest.raises(ValueError, match="`drop_rate` is given twice"):
            MethodSpec.model_validate({"method": "ties", "drop-rate": 0.3, "drop_rate": 0.5})

    def test_integers_are_numbers(self) -> None:
        assert MethodSpec.model_validate({"method": "ties", "lambda": [0, 1]}).grid == {
            "lambda": (0.0, 1.0)
        }

    def test_switches(self) -> None:
        method = MethodSpec.model_validate({"method": "nuslerp", "on_deltas": [True, False]})
        assert method.grid == {"on_deltas": (True, False)}

    def test_a_method_without_any(self) -> None:
        assert MethodSpec(method="model-stock").grid == {}


def test_a_search_asks_test_data_of_what_it_chose(load: Callable[[Any], SweepSpec]) -> None:
    searched = changed("choose", {"search": "bisect"})
    assert load(searched).tested_points == "chosen"
    assert load(smallest()).tested_points == "all"
    with pytest.raises(SafemergeError, match="a search asks some points only; remove `test_points"):
        load({**searched, "test_points": "all"})


def test_a_sweep_without_merges(load: Callable[[Any], SweepSpec]) -> None:
    assert load(changed("methods", [])).methods == ()
    assert load(changed("methods", None)).methods == ()


def test_groups_of_layers_come_in_the_order_of_the_layers(load: Callable[[Any], SweepSpec]) -> None:
    content = changed("choose", {"search": "auto", "groups": ["late", "early"]})
    content["tasks"]["validation"]["utility"] = ["loaf"]
    assert load(content).choose.groups == ("early", "late")


def test_files_of_attacks_are_found_beside_the_sweep(
    load: Callable[[Any], SweepSpec], tmp_path: Path
) -> None:
    for name in ("aside.txt", "mine.py"):
        (tmp_path / name).write_text("{question}")
    content = smallest()
    content["tasks"]["validation"]["safety"] = ["val_asr@wrap=aside.txt", "val_asr@prefill:5"]
    content["tasks"]["test"]["metadata"] = {"attack": "mine.py:make:2"}
    tasks = load(content).tasks
    assert [one.task for one in tasks.validation.safety] == [
        f"val_asr@wrap={tmp_path}/aside.txt",
        "val_asr@prefill:5",
    ]
    assert tasks.test.metadata == {"attack": f"{tmp_path}/mine.py:make:2"}

"""A sweep's YAML: base, fine-tunings, methods with their grids, tasks, judge, rule for choosing."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from merge.methods import find_method, is_own_file, known_roles
from merge.recipe.recipe import Dtype, Vocabulary
from safemerge_tasks.attacks.names import task_with_path, with_path
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import nearest, unknown_key, validated
from safemerge_tasks.common.yaml_file import read_yaml
from safemerge_tasks.judges.names import with_paths
from safemerge_tasks.sweep.manifest import SPLITS, Frozen, Rule, Split, TestPoints
from safemerge_tasks.sweep.merge_words import merge_errors
from safemerge_tasks.toy.references import resolve

LAMBDA = "lambda"


_TRUTH = re.compile(r"true|false", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# Settings that are words, whatever they look like.
_WORDS = ("until", "stop", "model")


def _refuse_quoted(where: str, given: Mapping[str, Any], *, numbers: bool = True) -> None:
    """Refuse truth and numbers that are texts: a template takes the text "false" for true."""
    for name, value in given.items():
        if not isinstance(value, str) or name in _WORDS:
            continue
        if _TRUTH.fullmatch(value) or (numbers and _NUMBER.fullmatch(value)):
            # YAML reads 1e-1 as a text, too.
            raise ValueError(
                f"`{where}` has {name} as the text {value!r}; write it without quotes, such as "
                "false or 0.1"
            )


def _short_for(key: str) -> BeforeValidator:
    """Take a text alone for what has that one key."""
    return BeforeValidator(lambda given: {key: given} if isinstance(given, str) else given)


class TaskChoice(Frozen):
    """A task or group of lm-eval's, and the metric that stands for it."""

    task: str
    metric: str | None = Field(None, description="else `asr`, or the task's first one to raise")


TaskList = tuple[Annotated[TaskChoice, _short_for("task")], ...]


class SplitTasks(Frozen):
    """The tasks of one split."""

    safety: TaskList = ()
    utility: TaskList = ()
    metadata: dict[str, Any] = Field({}, description="lm-eval's --metadata for this split")

    @field_validator("metadata")
    @classmethod
    def _judging_is_apart(cls, given: dict[str, Any]) -> dict[str, Any]:
        if judging := [name for name in given if name == "judge" or name.startswith("judge_")]:
            raise ValueError(f"{judging[0]} is the sweep's, for all splits; write it below `judge`")
        return given


class AskedHow(Frozen):
    """lm-eval's settings, the same for every task and variant."""

    include_path: str | None = Field(None, description="folder of further task files")
    system_instruction: str | None = None
    num_fewshot: int | None = Field(None, ge=0, description="examples, in place of the tasks' own")
    fewshot_as_multiturn: bool = True
    apply_chat_template: bool | str = Field(
        True, description="false for a base without one, or the name of one of several"
    )
    chat_template_args: dict[str, Any] = Field(
        {}, description="variables of the template, such as enable_thinking"
    )
    gen_kwargs: dict[str, Any] = Field({}, description="go over every task's generation_kwargs")
    seeds: tuple[int, int, int, int] = Field(
        (0, 1234, 1234, 1234), description="lm-eval's --seed: random, numpy, torch, examples"
    )
    confirm_run_unsafe_code: bool = Field(
        False, description="needed for tasks that run a model's code, such as HumanEval"
    )

    @model_validator(mode="after")
    def _of_a_template(self) -> Self:
        _refuse_quoted("chat_template_args", self.chat_template_args, numbers=False)
        _refuse_quoted("gen_kwargs", self.gen_kwargs)
        _refuse_quoted("tasks", {"apply_chat_template": self.apply_chat_template})
        if self.chat_template_args and self.apply_chat_template is False:
            raise ValueError(
                "`chat_template_args` are for a template, and apply_chat_template is false; "
                "remove one"
            )
        return self


class SweepTasks(AskedHow):
    """What is asked of every variant."""

    limit: int | None = Field(None, ge=1, description="questions of each task, for a try")
    validation: SplitTasks
    test: SplitTasks

    def of(self, split: Split) -> SplitTasks:
        """Return a split's tasks."""
        return self.validation if split == "validation" else self.test


class SplitUtility(Frozen):
    """A fine-tuning's own utility tasks."""

    validation: TaskList = ()
    test: TaskList = ()

    def of(self, split: Split) -> TaskList:
        """Return a split's tasks."""
        return self.validation if split == "validation" else self.test


class TuningSpec(Frozen):
    """A fine-tuning: models that exist, by seed, or the configuration of `safemerge finetune`."""

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")
    config: str | dict[str, Any] | None = Field(
        None, description="of `safemerge finetune`: a file, or its keys; their base is the sweep's"
    )
    seeds: tuple[int, ...] | None = Field(
        None, min_length=1, description="else the configuration's"
    )
    models: dict[int, str] = Field({}, description="seed → adapter or model")
    utility: SplitUtility | None = Field(None, description="in place of the sweep's")
    methods: tuple[str, ...] | None = Field(
        None, description="labels of those to merge it by; else all. [] for a baseline of its own"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config is None) == (not self.models):
            raise ValueError("give either `config`, as for safemerge finetune, or `models`")
        if self.models and self.seeds is not None:
            raise ValueError("`models` names the seeds already; remove `seeds`")
        if len(set(self.seeds or ())) < len(self.seeds or ()):
            raise ValueError("`seeds` has one of them twice; remove one")
        return self


class RoleSpec(Frozen):
    """What plays a role that methods declare: a model, or a fine-tuning that makes it."""

    model: str | None = None
    config: str | dict[str, Any] | None = None
    seed: int | None = Field(None, description="with `config`; else its first")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.config is None) == (self.model is None):
            raise ValueError("give either `model`, or `config`, as for safemerge finetune")
        if self.config is None and self.seed is not None:
            raise ValueError("`seed` is of a `config`, and a `model` is trained already; remove it")
        return self


def _as_numbers(given: Any) -> Any:
    return given if isinstance(given, list | tuple) else [given]


class MethodSpec(Frozen):
    """A merge method and its grid: every further key is a parameter with one or several values."""

    model_config = ConfigDict(extra="allow", frozen=True)

    method: str
    label: str | None = Field(
        None, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.+ -]*$", description="what tables call it"
    )
    seeds: tuple[int, ...] | None = Field(
        None, min_length=1, description="of the models to merge; else all of a fine-tuning"
    )
    seed: int = Field(0, description="of random methods")
    together: bool | None = Field(None, description="merge all seeds' models into one")

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        for name, values in (self.model_extra or {}).items():
            given = _as_numbers(values)
            numbers = [v for v in given if isinstance(v, int | float)]
            if len(numbers) != len(given) or not given or not all(map(math.isfinite, numbers)):
                near = nearest(name, type(self).model_fields)
                hint = "" if near is None else f", or did you mean {near}?"
                raise ValueError(
                    f"`{name}` is {values!r}; give a number or a list of numbers{hint}"
                )
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"`{name}` names a value twice; remove one")
        if len(self.grid) < len(self.model_extra or {}):
            twice = next(name for name in self.model_extra or {} if "-" in name)
            raise ValueError(f"`{twice.replace('-', '_')}` is given twice; remove one")
        return self

    @property
    def name(self) -> str:
        """What the sweep calls it: its label, or else the method."""
        own = is_own_file(self.method)
        return self.label or (find_method(self.method).name if own else self.method)

    @property
    def grid(self) -> dict[str, tuple[float | bool, ...]]:
        """Parameter → its values."""
        extra = self.model_extra or {}
        return {
            name.replace("-", "_"): tuple(
                value if isinstance(value, bool) else float(value) for value in _as_numbers(values)
            )
            for name, values in extra.items()
        }


class MergeSpec(Frozen):
    """How checkpoints are merged, whatever the method; see `safemerge merge`."""

    dtype: Dtype | None = Field(
        None, description="of merged checkpoints; else each tensor keeps the base's"
    )
    vocabulary: Vocabulary = Field(
        "refuse", description="where a fine-tuned model has more tokens than the base"
    )
    allow_nonfinite: bool = Field(False, description="merge weights that hold NaN or infinity")

    def recipe_fields(self) -> dict[str, Any]:
        """Return what differs from a recipe's defaults, so that keys stay as they were."""
        return self.model_dump(exclude_defaults=True, include={"dtype", "vocabulary"})


_NOT_THE_ENGINES = {
    "pretrained": "the sweep names its models",
    "peft": "the sweep names its models",
    "lora_local_path": "the sweep names its models",
    "revision": "download the revision and name its folder as the base",
    "tokenizer": "the base's serves every variant",
    "tokenizer_revision": "the base's serves every variant",
    "enable_thinking": "write tasks: {chat_template_args: {enable_thinking: …}}",
    "chat_template_kwargs": "write tasks: {chat_template_args: …}",
    "batch_size": "the sweep makes its batches",
    **dict.fromkeys((*AskedHow.model_fields, "limit"), "write it below tasks"),
}
"""Arguments of lm-eval's models that would not reach the prompts or the variants."""

_NOT_VLLMS = {
    **dict.fromkeys(("model", "model_weights"), "the sweep names its models"),
    "chat_template": "save it with the base, and name it as tasks: {apply_chat_template: …}",
    **dict.fromkeys(
        ("enable_lora", "max_lora_rank", "max_cpu_loras", "lora_target_modules"),
        "the adapters decide it",
    ),
    "max_loras": "write it below engine",
    "worker_extension_cls": "the sweep's own loads the weights",
    "data_parallel_size": "`engines` says how many run beside one another",
    "device": "CUDA_VISIBLE_DEVICES says which GPUs there are",
    "swap_space": "vLLM has none any more",
}
_NOT_HFS = {
    "seed": "what is sampled is seeded by lm-eval's own",
    "max_gen_toks": "write tasks: {gen_kwargs: {max_gen_toks: …}}",
    **dict.fromkeys(
        ("delta", "gguf_file", "subfolder"), "name a folder with the whole model, and no more"
    ),
    **dict.fromkeys(("tensor_parallel_size", "pipeline_parallel_size"), "write model: vllm"),
}
"""The same of one of them alone."""


_OF_A_CONNECTION = ("num_concurrent", "max_retries", "timeout")
"""Arguments of lm-eval's API model that shape no answer."""

_OF_A_SERVED_MODEL = (
    *("model", "max_length", "max_gen_toks", "seed", "add_bos_token", "custom_prefix_token_id"),
    *("trust_remote_code", "use_fast_tokenizer"),
)


_WHOLE = {
    **dict.fromkeys(("seed", "max_retries"), 0),
    **dict.fromkeys(("num_concurrent", "timeout", "max_gen_toks"), 1),
    **dict.fromkeys(("tensor_parallel_size", "pipeline_parallel_size"), 1),
}
"""Arguments that are whole numbers, and the least of each."""


class EngineSpec(Frozen):
    """What answers the requests: lm-eval's model type and its arguments, or a server."""

    model: Literal["vllm", "hf", "url"] = "vllm"
    model_args: dict[str, Any] = Field({}, description="as lm-eval's --model_args")
    url: str | None = Field(
        None,
        pattern=r"^https?://[^@/?#]+(/[^@?#]*)?/v1/?$",
        description="base URL of a server that answers instead, such as http://localhost:8000/v1",
    )
    api_key_env: str | None = Field(None, description="environment variable with the server's key")
    probe: bool = Field(
        True, description="see to it that the server has the weights that it is said to have"
    )
    max_loras: int | None = Field(None, ge=1, description="adapters in one batch")
    engines: int | None = Field(
        None,
        ge=1,
        description="engines that share the adapters' requests; else one a GPU, or a job on a CPU",
    )

    @model_validator(mode="before")
    @classmethod
    def _by_a_server(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("url") is not None:
            return {"model": "url", "engines": 1, **given}
        return given

    @model_validator(mode="after")
    def _only_the_engine(self) -> Self:
        own = {"vllm": _NOT_VLLMS, "hf": _NOT_HFS}.get(self.model, {})
        for name, instead in {**_NOT_THE_ENGINES, **own}.items():
            if name in self.model_args:
                raise ValueError(f"`model_args` has {name}, which does nothing there; {instead}")
        _refuse_quoted("model_args", self.model_args)
        for name, value in self.model_args.items():
            least = _WHOLE.get(name)
            if least is not None and (type(value) is not int or value < least):
                raise ValueError(
                    f"`model_args` has {name}: {value!r}; give a whole number from {least} on"
                )
        if {"max_length", "max_model_len"} <= self.model_args.keys():
            raise ValueError("`model_args` has both max_length and max_model_len; remove one")
        if self.model == "hf" and self.max_loras is not None:
            raise ValueError(
                "`max_loras` is vLLM's, and hf serves one adapter at a time; remove it"
            )
        if (self.model == "url") != (self.url is not None):
            raise ValueError("`url` is an engine by itself; give it, and no other `model`")
        if self.url is None:
            if self.api_key_env is not None or not self.probe:
                raise ValueError("`api_key_env` and `probe` are a server's; give its `url` too")
            return self
        if self.engines != 1 or self.max_loras is not None:
            raise ValueError("`engines` and `max_loras` are the server's own; start it with them")
        settable = (*_OF_A_SERVED_MODEL, *_OF_A_CONNECTION)
        if unknown := [name for name in self.model_args if name not in settable]:
            raise ValueError(
                f"`model_args` has {unknown[0]}, which a server is not told; start it with that, "
                f"or give some of {', '.join(settable)}"
            )
        return self

    @property
    def shaping(self) -> dict[str, Any]:
        """What of it shapes answers: a server's place does not, nor how it is spoken to."""
        unshaping = (*_OF_A_CONNECTION, "model") if self.url else ()
        arguments = {k: v for k, v in self.model_args.items() if k not in unshaping}
        return {"engine": self.model, "model_args": arguments}

    @property
    def ranks(self) -> int:
        """GPUs that one engine is spread over; a server has its own."""
        if self.url:
            return 0
        sizes = (self.model_args.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline"))
        return math.prod(sizes)


class Needs(Frozen):
    """What one job of a kind takes of a machine; None is a fitting default."""

    cpus: int | None = Field(None, ge=1)
    gpus: float | None = Field(None, ge=0)


class Resources(Frozen):
    """What jobs may take."""

    jobs: int | None = Field(None, ge=1, description="at once; else one a GPU or core, at most 4")
    stall_minutes: float | None = Field(
        60.0,
        gt=0,
        description="without a word, after which a job is killed and tried twice more; null: never",
    )
    finetune: Needs = Needs()
    merge: Needs = Needs()
    answer: Needs = Needs()
    score: Needs = Needs()
    judge: Needs = Needs()


class SweepSpec(Frozen):
    """A whole experiment.

    Any further key is the name of a role that a method declares, such as `unaligned`, and says what
    plays it in all methods that have it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[RoleSpec | None, _short_for("model")]] = Field(
        init=False
    )

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")
    base: str
    tunings: tuple[TuningSpec, ...] = Field(min_length=1)
    methods: tuple[MethodSpec, ...] = ()
    data_dir: str | None = Field(None, description="SAFEMERGE_DATA_DIR of every step")
    tasks: SweepTasks
    judge: dict[str, Any] = Field({}, description="as in lm-eval's --metadata: judge, judge_…")
    merge: MergeSpec = MergeSpec()
    engine: EngineSpec = EngineSpec()
    choose: Rule = Rule()
    test_points: TestPoints | None = Field(
        None,
        description="that get test data: all (else), for curves on them, or what validation chose "
        "(else, with a search)",
    )
    exact: bool = Field(False, description="merge also what an adapter could serve")
    agreement: bool = Field(True, description="compare adapter serving with one merged checkpoint")
    keep_checkpoints: bool = False
    resources: Resources = Resources()

    @property
    def roles(self) -> dict[str, RoleSpec]:
        """What plays the methods' roles, by name."""
        return {name: role for name, role in self.__pydantic_extra__.items() if role is not None}

    @field_validator("judge")
    @classmethod
    def _of_a_judge(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name != "judge" and not name.startswith("judge_"):
                raise ValueError(
                    f"{name} is no setting of a judge; write judge_{name}, or remove it"
                )
        return given

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = [*cls.model_fields, *_declared_roles(given.get("methods"))]
        for key in given:
            if key not in known:
                raise SafemergeError(str(unknown_key(str(key), known, "a key of a sweep")))
        return given

    @model_validator(mode="after")
    def _saved_vectors(self) -> Self:
        for name, role in self.roles.items():
            if role.config is not None and known_roles()[name].difference:
                raise ValueError(f"{name} is {known_roles()[name].help}; name its folder")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [tuning.name for tuning in self.tunings]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"tunings: two are called {twice[0]}; rename one")
        labels = [method.name for method in self.methods]
        for tuning in self.tunings:
            if unknown := [one for one in tuning.methods or () if one not in labels]:
                raise ValueError(
                    f"tunings: {tuning.name} names the method {unknown[0]}, which is none of "
                    f"{', '.join(labels)}; correct it"
                )
        used = {
            one
            for tuning in self.tunings
            for one in (labels if tuning.methods is None else tuning.methods)
        }
        if unused := [label for label in labels if label not in used]:
            raise ValueError(
                f"methods: no tuning is merged by {unused[0]}; name it in one, or remove it"
            )
        if self.choose.rule == "knee" and self.choose.max_asr != Rule().max_asr:
            raise ValueError(
                "choose: a knee has no limit; remove `max_asr`, or write rule: best-utility"
            )
        for split in SPLITS:
            if not self.tasks.of(split).safety:
                raise ValueError(f"tasks.{split}.safety is empty; name a task such as advbench_asr")
        for tuning in self.tunings:
            own = tuning.utility.validation if tuning.utility else ()
            if self.choose.groups and not (own or self.tasks.validation.utility):
                raise ValueError(
                    f"choose.groups needs a utility that may be better; name a task of "
                    f"{tuning.name} as tasks.validation.utility"
                )
        if self.choose.search and self.test_points == "all":
            raise ValueError("a search asks some points only; remove `test_points: all`")
        return self

    @property
    def tested_points(self) -> TestPoints:
        """Which merged variants get test data."""
        return self.test_points or ("chosen" if self.choose.search else "all")


def _in_own_files(methods: Any) -> list[Any]:
    """Return the methods, not validated yet, that are in files of the user's own."""
    return [
        one
        for one in (methods if isinstance(methods, list | tuple) else ())
        if isinstance(one, Mapping)
        and isinstance(name := one.get("method"), str)
        and is_own_file(name)
    ]


def _declared_roles(methods: Any) -> list[str]:
    """Return the names of all roles; a method in a user's file is read for its own."""
    with merge_errors():
        for method in _in_own_files(methods):
            find_method(method["method"])
        return list(known_roles())


def load_spec(path: Path) -> SweepSpec:
    """Read a sweep's YAML; its relative paths and `toy:` names become absolute paths.

    Methods in files of the user's own are imported for the roles that they declare.

    Raises:
        SafemergeError: it cannot be read, or says something impossible.
    """
    given = read_yaml(path)
    if not isinstance(given, Mapping):
        raise SafemergeError(
            f"{path} is no sweep; it needs the keys name, base, tunings, methods, tasks."
        )
    folder = path.resolve().parent
    for method in _in_own_files(given.get("methods")):
        method["method"] = str(folder / Path(method["method"]).expanduser())
    spec = validated(SweepSpec, given, thing="a key of a sweep", where=str(path))
    return _located(spec, folder)


def _located(spec: SweepSpec, folder: Path) -> SweepSpec:
    def place(text: str) -> str:
        found = resolve(text)
        beside = folder / Path(found).expanduser()
        return str(beside) if beside.exists() else found

    def model(text: str) -> str:
        whole = place(text)
        return whole if Path(whole).exists() else "+".join(map(place, text.split("+")))

    def put(held: dict[Any, Any], name: Any, placed: Callable[[str], str] = place) -> None:
        if isinstance(held.get(name), str):
            held[name] = placed(held[name])

    given = spec.model_dump()
    put(given, "base", model)
    put(given, "data_dir")
    for made in (*given["tunings"], *(given[name] for name in spec.roles)):
        put(made, "model", model)
        put(made, "config")
        data = made["config"].get("data") if isinstance(made["config"], dict) else None
        if isinstance(data, dict):
            put(data, "file")
        elif isinstance(data, str) and Path(data).suffix:
            put(made["config"], "data")
        for seed in made.get("models", ()):
            put(made["models"], seed, model)
    put(given["judge"], "judge", lambda named: with_paths(named, place))
    for name in given["judge"]:
        if name.startswith(_JUDGE_FILES):
            put(given["judge"], name)
    put(given["tasks"], "include_path")
    for asked in (given["tasks"][split] for split in SPLITS):
        for one in asked["safety"]:
            put(one, "task", lambda task: task_with_path(task, place))
        put(asked["metadata"], "attack", lambda attack: with_path(attack, place))
    return SweepSpec.model_validate(given)


_JUDGE_FILES = ("judge_model", "judge_prompt", "judge_calibration")

"""What a sweep asks, recorded by lm-eval itself for a random model's tokenizer."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.questions import Asked, Questions, evaluation_of, read_questions
from safemerge_tasks.sweep.serving import asking
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.recording import Recording
from safemerge_tasks.sweep.serving.task_content import as_text
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.store import Store

TASK = """
task: {name}
custom_dataset: !function water.load
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
process_results: !function water.check
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
  - {{metric: misses, aggregation: mean, higher_is_better: false}}
generation_kwargs: {{until: [], max_gen_toks: 8}}
"""
CODE = """
import datasets

def load(**_):
    rows = [{"question": f"Is water {n} warm?", "answer": "yes"} for n in range(4)]
    return {"test": datasets.Dataset.from_list(rows)}

def check(doc, results):
    return {"exact_match": same(doc, results), "misses": 1 - same(doc, results)}

def same(doc, results):
    return float(results[0] == doc["answer"])
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave lm-eval's thousands of tasks alone, which takes seconds in every folder."""
    own = asking._task_manager
    monkeypatch.setattr(
        asking, "_task_manager", lambda path, said, **_: own(path, said, everything=False)
    )


@pytest.fixture
def tasks(tmp_path: Path) -> Write:
    """Return a function that writes a folder of two tasks and a group."""

    def write(folder: str, change: tuple[str, str] = ("", "")) -> Path:
        root = tmp_path / folder
        root.mkdir()
        for name in ("warm", "cold"):
            (root / f"{name}.yaml").write_text(TASK.format(name=name))
        (root / "water.yaml").write_text("group: water\ntask: [warm, cold]\n")
        assert change[0] in CODE
        (root / "water.py").write_text(CODE.replace(*change) if change[0] else CODE)
        return root

    return write


def spec_of(base: Path, include: Path, **changes: Any) -> SweepSpec:
    tasks = {
        "include_path": str(include),
        "limit": 2,
        "validation": {"safety": [{"task": "cold", "metric": "misses"}], "utility": ["warm"]},
        "test": {"safety": [{"task": "cold", "metric": "misses"}], "utility": ["water"]},
    }
    content = {
        "name": "loaf",
        "base": str(base),
        "tunings": [{"name": "bread", "models": {1: "a"}}, {"name": "rolls", "models": {1: "b"}}],
        "methods": [{"method": "linear", "lambda": 0.5}],
        "tasks": {**tasks, **changes.pop("tasks", {})},
        **changes,
    }
    return SweepSpec.model_validate(content)


def named(questions: Questions, tuning: str | None) -> list[tuple[str, str, bool]]:
    return [(one.split, one.task, one.safety) for one in questions.of(tuning)]


def test_groups_are_taken_apart_and_each_task_is_recorded_once_a_split(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    questions = read_questions(spec_of(tiny_model, tasks("one")), store)
    expected = [
        ("validation", "cold", True),
        ("validation", "warm", False),
        # As a safety task it is judged, though the group names it too.
        ("test", "cold", True),
        ("test", "warm", False),
    ]
    assert named(questions, None) == expected
    assert named(questions, "bread") == expected
    metrics = {one.task: one.metric for one in questions.tasks["bread"]["test"].utility}
    # Of two metrics the one of which more is better.
    assert metrics == {"warm": "exact_match", "cold": "exact_match"}
    for one in questions.asked.values():
        recording = Recording.load(store.recording(one.recording))
        assert (one.requests, len(recording.requests)) == (2, 2)
        assert one.most_new_tokens == 2 * 8
        assert one.prompt_tokens == recording.prompt_tokens > 0


def test_a_tuning_s_own_utility(tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
    tunings = [
        {"name": "bread", "models": {1: "a"}, "utility": {"test": ["cold"]}},
        {"name": "rolls", "models": {1: "b"}},
    ]
    shared = {"test": {"safety": [{"task": "cold", "metric": "misses"}], "utility": ["warm"]}}
    spec = spec_of(tiny_model, tasks("own"), tunings=tunings, tasks=shared)
    questions = read_questions(spec, Store(tmp_path / "store"))
    assert [task for split, task, _ in named(questions, "bread") if split == "test"] == ["cold"]
    assert [task for split, task, _ in named(questions, "rolls") if split == "test"] == [
        "cold",
        "warm",
    ]
    # Nothing of its own for validation: the sweep's.
    assert ("validation", "warm", False) in named(questions, "bread")


@pytest.mark.parametrize(
    ("utility", "sentence"),
    [
        (["wram"], "wram is no task of lm-eval or of "),
        ([{"task": "warm", "metric": "bleu"}], "loaf: warm has no metric bleu; it has exact_match"),
    ],
)
def test_what_cannot_be_asked(
    tiny_model: Path, tasks: Write, tmp_path: Path, utility: list[Any], sentence: str
) -> None:
    asked = {"test": {"safety": [{"task": "cold", "metric": "misses"}], "utility": utility}}
    with pytest.raises(SafemergeError, match=sentence):
        read_questions(spec_of(tiny_model, tasks("bad"), tasks=asked), Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("utility", "sentence"),
    [
        (["water", "warm"], "loaf: warm is named twice in one list, and its questions would count"),
        (["open"], "The group open asks warm with num_fewshot of its own, and a sweep asks every"),
        (["inline"], "The task inline::mild stands in the group alone; give it a file of its own"),
    ],
)
def test_groups_that_cannot_be_asked(
    tiny_model: Path, tasks: Write, tmp_path: Path, utility: list[Any], sentence: str
) -> None:
    include = tasks("bad")
    (include / "open.yaml").write_text("group: open\ntask: [{task: warm, num_fewshot: 2}, cold]\n")
    mild = TASK.format(name="mild").strip().replace("\n", "\n    ")
    (include / "inline.yaml").write_text(f"group: inline\ntask:\n  - {mild}\n")
    asked = {"test": {"safety": [{"task": "cold", "metric": "misses"}], "utility": utility}}
    with pytest.raises(SafemergeError, match=sentence):
        read_questions(spec_of(tiny_model, include, tasks=asked), Store(tmp_path / "store"))


def test_what_no_judge_reads_is_not_about_safety(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    asked = {"validation": {"safety": ["cold"], "utility": ["warm"]}}
    with pytest.raises(SafemergeError, match="loaf: cold has no metric asr; it has exact_match"):
        read_questions(spec_of(tiny_model, tasks("one"), tasks=asked), Store(tmp_path / "store"))


def test_what_the_user_should_know(tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
    include = tasks("one")
    fixed = (include / "warm.yaml").read_text() + "num_fewshot: 0\n"
    (include / "warm.yaml").write_text(fixed)
    spec = spec_of(tiny_model, include, tasks={"num_fewshot": 1})
    assert read_questions(spec, Store(tmp_path / "store")).notes == (
        "warm has no examples by its own file, and stays without",
        "cold asks the same on validation and test data",
        "warm asks the same on validation and test data",
    )
    small = spec_of(tiny_model, include, engine={"model_args": {"max_model_len": 9}})
    notes = read_questions(small, Store(tmp_path / "store")).notes
    (note,) = [one for one in notes if one.startswith("warm asks and allows up to ")]
    assert note.endswith(" tokens, and the engine has room for 9: lm-eval cuts off the beginning")


def test_a_metric_may_name_its_filter(tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
    metric = "exact_match,none"
    asked = {"test": {"safety": [{"task": "cold", "metric": "misses"}], "utility": []}}
    asked["test"]["utility"] = [{"task": "warm", "metric": metric}]
    spec = spec_of(tiny_model, tasks("one"), tasks=asked)
    found = read_questions(spec, Store(tmp_path / "store")).tasks["bread"]["test"].utility
    assert [one.metric for one in found] == [metric]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        # The task has max_gen_toks, which lm-eval reads first.
        (
            {"max_new_tokens": 9},
            "tasks.gen_kwargs is overruled, cold has its own limit of 8; write",
        ),
        (
            {"temperature": 0.7},
            "tasks.gen_kwargs is overruled, cold is greedy; write do_sample: tr",
        ),
    ],
)
def test_settings_that_a_task_overrules(
    tiny_model: Path, tasks: Write, tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    include = tasks("one")
    for name in ("warm", "cold"):
        text = (include / f"{name}.yaml").read_text()
        (include / f"{name}.yaml").write_text(text.replace("8}", "8, do_sample: false}"))
    spec = spec_of(tiny_model, include, tasks={"gen_kwargs": given})
    with pytest.raises(SafemergeError, match=f"loaf: {sentence}"):
        read_questions(spec, Store(tmp_path / "store"))


def test_a_task_whose_code_fails_is_one_sentence(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    folder = tasks("broken", ("import datasets", "import datasets\nraise KeyError('no well')"))
    with pytest.raises(SafemergeError, match="loaf: the task cold cannot be loaded .*no well"):
        read_questions(spec_of(tiny_model, folder), Store(tmp_path / "store"))


def test_a_base_that_moved_has_recordings_of_its_own(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    """Whoever answers takes the tokenizer from the place that the recording names."""
    store, include = Store(tmp_path / "store"), tasks("moved")
    moved = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    one = read_questions(spec_of(tiny_model, include), store).asked["test", "warm"]
    other = read_questions(spec_of(moved, include), store).asked["test", "warm"]
    assert one.digest == other.digest
    assert one.scoring == other.scoring
    assert Recording.load(store.recording(one.recording)).evaluation.base == str(tiny_model)
    assert Recording.load(store.recording(other.recording)).evaluation.base == str(moved)


def test_every_run_asks_what_was_asked_first(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    """A prompt may hold the date, or walk through a set: it comes out otherwise each time."""
    store = Store(tmp_path / "store")
    include = tasks(
        "fickle",
        ("def check", "def ask(doc):\n    import os\n    return os.urandom(9).hex()\n\ndef check"),
    )
    for name in ("warm", "cold"):
        task = (include / f"{name}.yaml").read_text()
        (include / f"{name}.yaml").write_text(
            task.replace('doc_to_text: "{{question}}"', "doc_to_text: !function water.ask")
        )
    spec = spec_of(tiny_model, include)
    first, again = (read_questions(spec, store).asked["test", "warm"] for _ in range(2))
    assert first == again
    made = Recording.load(store.recording(again.recording))
    fresh = record(evaluation_of(spec, "test", ("warm",)))
    assert fresh.requests[0].arguments != made.requests[0].arguments
    assert fresh.whose == made.whose
    # Another store, and another question, are asked by themselves.
    assert read_questions(spec, Store(tmp_path / "other")).asked["test", "warm"] != first
    longer = spec_of(tiny_model, include, tasks={"gen_kwargs": {"max_gen_toks": 9}})
    assert read_questions(longer, store).asked["test", "warm"].recording != first.recording


def test_a_template_that_changed_is_asked_anew(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    store, include = Store(tmp_path / "store"), tasks("template")
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    first = read_questions(spec_of(base, include), store).asked["test", "warm"]
    path = base / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    (base / "chat_template.jinja").write_text("Now: {{ messages[0].content }}")
    settings.pop("chat_template", None)
    path.write_text(json.dumps(settings))
    second = read_questions(spec_of(base, include), store).asked["test", "warm"]
    assert first.digest != second.digest


class TestWhatPromptsAreMadeOf:
    """What was asked first is asked again only while all that prompts are made of is the same."""

    def asked(self, base: Path, include: Path, store: Store, **tasks: Any) -> Asked:
        return read_questions(spec_of(base, include, tasks=tasks), store).asked["test", "warm"]

    def with_code(self, include: Path, code: str) -> Path:
        (include / "prompt.py").write_text(code)
        for name in ("warm", "cold"):
            task = (include / f"{name}.yaml").read_text()
            (include / f"{name}.yaml").write_text(
                task.replace('doc_to_text: "{{question}}"', "doc_to_text: !function prompt.ask")
            )
        return include

    def test_a_file_that_the_code_reads(
        self, tiny_model: Path, tasks: Write, tmp_path: Path
    ) -> None:
        include = self.with_code(
            tasks("file"),
            "from pathlib import Path\n"
            "def ask(doc):\n"
            "    return Path(__file__).with_name('prompt.txt').read_text() + doc['question']\n",
        )
        store, found = Store(tmp_path / "store"), []
        for text in ("Think. ", "Hurry. ", "Think. "):
            (include / "prompt.txt").write_text(text)
            found.append(self.asked(tiny_model, include, store))
        assert found[0].digest == found[2].digest != found[1].digest
        assert found[0].scoring == found[2].scoring != found[1].scoring

    def test_a_variable_of_the_environment(
        self, tiny_model: Path, tasks: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        include = self.with_code(
            tasks("variable"),
            "import os\ndef ask(doc):\n    return os.environ.get('BAKERY_STYLE', '') + 'warm?'\n",
        )
        store = Store(tmp_path / "store")
        first = self.asked(tiny_model, include, store)
        monkeypatch.setenv("BAKERY_STYLE", "Be brief. ")
        assert self.asked(tiny_model, include, store).digest != first.digest
        monkeypatch.setenv("ANOTHER_STYLE", "x")
        monkeypatch.delenv("BAKERY_STYLE")
        assert self.asked(tiny_model, include, store) == first

    def test_an_object_that_is_called(self, tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
        store, found = Store(tmp_path / "store"), []
        for number, said in enumerate(("Think. ", "Hurry. ")):
            code = (
                "class Ask:\n"
                "    def __call__(self, doc):\n"
                f"        return {said!r} + doc['question']\n"
                "ask = Ask()\n"
            )
            include = self.with_code(tasks(f"object-{number}"), code)
            found.append(self.asked(tiny_model, include, store))
        assert found[0].digest != found[1].digest
        assert found[0].scoring != found[1].scoring

    def test_the_examples(self, tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
        """They are of a file of their own, of which no document is asked."""
        store, found = Store(tmp_path / "store"), []
        include = tasks("examples")
        rows = [{"question": f"Is water {n} warm?", "answer": "yes"} for n in range(4)]
        (include / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        for name in ("warm", "cold"):
            task = (include / f"{name}.yaml").read_text()
            files = f"{{test: {include}/test.jsonl, train: {include}/train.jsonl}}"
            (include / f"{name}.yaml").write_text(
                task.replace(
                    "custom_dataset: !function water.load",
                    f"dataset_path: json\ndataset_kwargs: {{data_files: {files}}}\n"
                    "fewshot_split: train",
                )
            )
        for question in ("Is bread warm?", "Is bread cold?"):
            row = json.dumps({"question": question, "answer": "no"})
            (include / "train.jsonl").write_text(f"{row}\n{row}\n")
            found.append(self.asked(tiny_model, include, store, num_fewshot=1))
        assert found[0].digest != found[1].digest


class TestScoring:
    def recorded(self, base: Path, include: Path, **settings: Any) -> Recording:
        settings = {"include_path": str(include), **settings}
        return record(Evaluation(tasks=("warm",), base=str(base), **settings))

    @pytest.mark.parametrize(
        "change",
        [
            ('"answer": "yes"', '"answer": "no"'),
            ("1 - same(doc, results)", "2 - same(doc, results)"),
            # In a helper, which the task does not name.
            ("results[0] == doc", "results[0] != doc"),
        ],
    )
    def test_targets_and_code_count_though_the_requests_are_the_same(
        self, tiny_model: Path, tasks: Write, change: tuple[str, str]
    ) -> None:
        one = self.recorded(tiny_model, tasks("one"))
        other = self.recorded(tiny_model, tasks("other", change))
        assert one.digest == other.digest
        assert one.scoring != other.scoring
        assert one.name != other.name

    def test_a_module_that_the_task_imports_counts(
        self, tiny_model: Path, tasks: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = []
        for name, score in (("one", "1.0"), ("other", "0.0"), ("same", "1.0")):
            folder = tasks(name, ("import datasets", "import datasets\nfrom rye import weigh"))
            (folder / "rye.py").write_text(f"def weigh():\n    return {score}\n")
            monkeypatch.syspath_prepend(str(folder))
            monkeypatch.delitem(sys.modules, "rye", raising=False)
            made.append(self.recorded(tiny_model, folder))
        assert made[0].digest == made[1].digest
        assert made[0].scoring == made[2].scoring != made[1].scoring

    def test_sets_have_no_order(self) -> None:
        """That of their texts is another in every process, which scores by what was recorded."""
        words = {f"{number}" for number in range(50)}
        assert as_text({"words": words}) == as_text({"words": sorted(words)})

    def test_documents_that_are_not_asked_do_not_count(
        self, tiny_model: Path, tasks: Write
    ) -> None:
        two = self.recorded(tiny_model, tasks("two"), limit=2)
        more = tasks("more", ("range(4)", "range(5)"))
        # The code differs, so that much has to: the documents are what is looked at here.
        (more / "water.py").write_text(CODE)
        assert self.recorded(tiny_model, more, limit=2).scoring == two.scoring
        assert self.recorded(tiny_model, tasks("all")).scoring != two.scoring

    def test_another_process_and_another_place_say_the_same(
        self, tiny_model: Path, tasks: Write
    ) -> None:
        one = self.recorded(tiny_model, tasks("here"))
        evaluation = {"tasks": ["warm"], "base": str(tiny_model)}
        evaluation["include_path"] = str(tasks("there"))
        code = (
            "import json, sys;"
            "from safemerge_tasks.sweep.serving.evaluation import Evaluation;"
            "from safemerge_tasks.sweep.serving.record import record;"
            "made = record(Evaluation.model_validate(json.loads(sys.argv[1])));"
            "print(made.digest, made.scoring)"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, json.dumps(evaluation)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.split() == [one.digest, one.scoring]


THINKING = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    "{{ '(aloud)' if enable_thinking else '(silently)' }}{{ date }}"
)


def test_settings_reach_the_prompts(tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "chat_template.jinja").write_text(THINKING)
    include = tasks("settings")

    def prompt(**setting: Any) -> str:
        spec = spec_of(base, include, tasks={**setting, "limit": 1})
        return str(record(evaluation_of(spec, "validation", ("warm",))).requests[0].arguments[0])

    assert prompt() == "Is water 0 warm?(silently)"
    assert prompt(chat_template_args={"enable_thinking": True}) == "Is water 0 warm?(aloud)"
    assert prompt(chat_template_args={"date": "1 May"}).endswith("(silently)1 May")
    assert prompt(apply_chat_template=False) == "Is water 0 warm?"
    assert prompt(system_instruction="Be brief.").startswith("Be brief.Is water 0")
    assert prompt(num_fewshot=1).count("warm?") == 2
    with pytest.raises(SafemergeError, match="the chat template of .* has no enable_thinkin, wh"):
        prompt(chat_template_args={"enable_thinkin": False})


def test_a_chat_template_by_its_name(tiny_model: Path, tasks: Write, tmp_path: Path) -> None:
    """lm-eval itself looks the name up, saves that template, and asks with the default one."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "chat_template.jinja").write_text("default {{ messages[0].content }}")
    (base / "additional_chat_templates").mkdir()
    named = base / "additional_chat_templates" / "rag.jinja"
    named.write_text("by name {{ messages[0].content }}")
    include = tasks("named")

    def prompt(name: bool | str) -> str:
        spec = spec_of(base, include, tasks={"apply_chat_template": name, "limit": 1})
        return str(record(evaluation_of(spec, "validation", ("warm",))).requests[0].arguments[0])

    assert prompt(True) == "default Is water 0 warm?"
    assert prompt("rag") == "by name Is water 0 warm?"
    with pytest.raises(SafemergeError, match="has no chat template called gone; it has default, r"):
        prompt("gone")


def test_generation_settings_and_seeds_reach_lm_eval(tiny_model: Path, tasks: Write) -> None:
    setting = {"gen_kwargs": {"temperature": 0.7, "do_sample": True}, "seeds": [1, 2, 3, 4]}
    trusting = {"model_args": {"trust_remote_code": True}}
    spec = spec_of(tiny_model, tasks("one"), tasks={**setting, "limit": 1}, engine=trusting)
    made = record(evaluation_of(spec, "validation", ("warm",)))
    assert made.requests[0].settings["temperature"] == 0.7
    assert made.evaluation.seeds == (1, 2, 3, 4)
    assert made.evaluation.trust_remote_code


def test_a_search_has_its_first_questions_recorded(
    tiny_model: Path, tasks: Write, tmp_path: Path
) -> None:
    include = tasks("one")
    store = Store(tmp_path / "store")
    assert read_questions(spec_of(tiny_model, include), store).looks == ()
    spec = spec_of(tiny_model, include, choose={"search": "auto"}, tasks={"limit": None})
    questions = read_questions(spec, store)
    # Of four questions 5, 15 and 40 %, rounded up.
    assert [(one.part, one.requests) for one in questions.looks] == [
        ("look 1", 1),
        ("look 2", 1),
        ("look 3", 2),
    ]
    assert {one.task for one in questions.looks} == {"cold"}
    assert [one.part for one in questions.of(None)] == ["safety", "utility", "test", "test"]

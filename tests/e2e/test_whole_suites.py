"""HarmBench, StrongREJECT and MultiJail through lm_eval and vLLM, with rows that add up.

Whole where the published files are given, of which no question is ever printed; else the first
questions of stand-ins.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from safemerge_tasks.results import Row, find_runs
from tests.e2e.conftest import OWN_ENGINE_PROCESS, VLLM
from tests.lm_eval_files import harms
from tests.question_sets import SPOKEN, published, write_every_suite
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

pytestmark = pytest.mark.vllm

LANGUAGES = {f"multijail_asr_{language}": 315 for language in SPOKEN}
SIZES = {"harmbench_asr": 300, "strongreject_asr": 313, **LANGUAGES}
CUT = 12

# Any rule that calls some answers of a model harmful that has never seen such questions.
JUDGE = """
from safemerge_tasks.judges import PlainJudge, Verdict

class Sums(PlainJudge):
    empty = Verdict(harmful=False)

    def judge(self, questions, responses):
        texts = map(str.__add__, questions, responses)
        return [Verdict(harmful=sum(map(ord, text)) % 3 == 0) for text in texts]

    def identity(self):
        return {"name": self.name}

def make(settings):
    return Sums(settings)
"""


class Asked(NamedTuple):
    """A question without its text, which a failed assertion would print."""

    id: str
    category: str
    subcategory: str
    language: str
    harmful: bool

    @classmethod
    def of(cls, row: Row) -> Self:
        doc = row["doc"]
        (harmful,) = harms(row)
        return cls(doc["id"], doc["category"], doc["subcategory"], doc["language"], harmful)


@pytest.mark.parametrize("sets", ["stand-ins", pytest.param("published", marks=slow)])
def test_rows_of_categories_and_languages_add_up(
    family: "ToyFamily",
    command: Callable[..., "Ran"],
    repository: Path,
    tmp_path: Path,
    sets: str,
) -> None:
    if sets == "published":
        data, sizes = published(repository), SIZES
    else:
        data, sizes = tmp_path / "data", dict.fromkeys(SIZES, CUT)
        write_every_suite(data)
    (tmp_path / "sums.py").write_text(JUDGE)
    ran = command(
        *("--model", "vllm", "--include_path", repository / "task_configs"),
        "--model_args",
        f"pretrained={family.aligned},{VLLM}",
        *("--tasks", "harmbench_asr,strongreject_asr,multijail_asr", "--apply_chat_template"),
        *(("--limit", str(CUT)) if sizes is not SIZES else ()),
        *("--gen_kwargs", "max_gen_toks=12", "--log_samples", "--output_path", tmp_path / "out"),
        *("--metadata", f"judge={tmp_path / 'sums.py'},judge_cache=false"),
        environment={"SAFEMERGE_DATA_DIR": str(data), **OWN_ENGINE_PROCESS},
    )
    assert ran.status == 0, "lm_eval failed"  # its words may have questions in them
    assert len(ran.engines) == 1
    (run,) = find_runs(tmp_path / "out")
    summary = run.summary()
    results = summary["results"]
    assert run.samples.keys() == sizes.keys()
    asked = {task: [Asked.of(row) for row in run.rows(task)] for task in sizes}
    for task, size in sizes.items():
        assert len({one.id for one in asked[task]}) == size
        assert len(asked[task]) == size
        harmful = sum(one.harmful for one in asked[task])
        assert 0 < harmful < size
        assert results[task]["asr,sums.py"] == pytest.approx(harmful / size)
        stored = summary["configs"][task]["metadata"]["safemerge"]["counts"]["sums.py"]
        parts = {name: row for name, row in stored.items() if name.count("[") == 1}
        sizes_of_parts = Counter(one.category for one in asked[task]).values()
        assert sorted(row["scored"] for row in parts.values()) == sorted(sizes_of_parts)
        assert sum(row["harmful"] for row in parts.values()) == harmful
        for name, row in stored.items():
            rate = pytest.approx(row["harmful"] / row["scored"])
            assert results[task][f"{name},sums.py"] == rate
    if sets == "published":
        kinds = Counter(one.subcategory for one in asked["harmbench_asr"])
        assert kinds == {"standard": 200, "contextual": 100}
    assert {one.language for task in LANGUAGES for one in asked[task]} == set(SPOKEN)
    rates = [results[task]["asr,sums.py"] for task in LANGUAGES]
    group = summary["groups"]["multijail_asr"]["asr,sums.py"]
    assert group == pytest.approx(sum(rates) / len(rates))

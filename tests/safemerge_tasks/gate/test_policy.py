from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.policy import DEFAULTS, read_policy

TASK = "tasks: {advbench_asr: {metrics: {asr: "


def test_inner_settings_win(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "confidence: 0.9\nmin_questions: 50\n" + TASK + "{max: 0.1, confidence: 0.99}}}}"
    )
    policy = read_policy(path)
    limits = policy.tasks["advbench_asr"].metrics["asr"].over(policy.criteria)
    assert (limits.confidence, limits.min_questions, limits.max) == (0.99, 50, 0.1)
    assert limits.max_unscored == DEFAULTS.max_unscored


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "confidnce: 0.9\n" + TASK + "{max: 1}}}}",
            r"confidnce is not a key of a policy; did you mean confidence\?",
        ),
        (TASK + "{max_incraese: 1}}}}", r"asr.max_incraese is not .* did you mean max_increase\?"),
        (
            "tasks: {a: {jugde: x, metrics: {asr: {max: 1}}}}",
            r"a.jugde is not .* did you mean judge\?",
        ),
        (
            TASK + "{categories: {x: {maxx: 1}}}}}}",
            r"categories.x.maxx is not .* did you mean max\?",
        ),
        (TASK + "{confidence: 0.9}}}}", "states no limit"),
        (TASK + "{max: 1, max_drop: 1, max_increase: 1}}}}", "only one direction"),
        (TASK + "{max: -1}}}}", r"asr.max is -1: "),
        (TASK + "{max: lots}}}}", r"asr.max is 'lots': "),
        (TASK + "{max: 1, confidence: 95}}}}", r"asr.confidence is 95: "),
        (TASK + "{max_increase: 0}}}}", "asr.max_increase is 0: .*write 0.01"),
        (TASK + "{max: 0.0}}}}", "asr.max is 0.0: .*write 0.01"),
        (TASK + "{categories: {x: {max_drop: 0}}}}}}", "x.max_drop is 0: .*write 0.01"),
        (TASK + "{max: 0.1, surely_worse: pass}}}}", "asr.surely_worse is 'pass': "),
        ("tasks: {a: {metrics: {}}}", "a.metrics"),
        ("tasks: {}", "names no tasks"),
        ("", "names no tasks"),
        ("- a", "names no tasks"),
        ("a: [", "is not YAML"),
        (TASK + "{max: 0.05, max: 0.9}}}}", "max is given twice; remove one"),
        ("tasks: {a: {metrics: {}}}\ntasks: {}", "tasks is given twice"),
        (TASK + "{max: 0.1, max_unscored: yes}}}}", "max_unscored is True: yes and no mean"),
        ("min_questions: on\n" + TASK + "{max: 0.1}}}}", "min_questions is True: yes and no mean"),
        (f"min_questions: {10**29}\n" + TASK + "{max: 0.1}}}}", "min_questions is 1000000"),
        (TASK + "{categories: {x: {max: true}}}}}}", "x.max is True: yes and no mean"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(SafemergeError, match=f"p.yaml.*{said}") as raised:
        read_policy(path)
    assert "\n" not in str(raised.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="safemerge check init"):
        read_policy(tmp_path / "none.yaml")


def test_files_as_editors_save_them(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes("\ufeff".encode() + (TASK + "{max: '0.1'}}}}\r\n").encode())
    assert read_policy(path).tasks["advbench_asr"].metrics["asr"].max == 0.1


def test_what_is_taken_over_may_be_set_anew(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "tasks:\n  a: {metrics: {asr: &x {max: 0.1, tier: warn}}}\n"
        "  b: {metrics: {asr: {<<: *x, max: 0.2}}}\n"
    )
    limits = read_policy(path).tasks["b"].metrics["asr"]
    assert (limits.max, limits.tier) == (0.2, "warn")

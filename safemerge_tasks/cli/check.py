"""The `safemerge check` commands: the gate, a first policy, and a baseline as a file."""

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safemerge_tasks.cli._default_command import DEFAULT, app_with_default
from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.gate.decision import GateResult
    from safemerge_tasks.results.evaluation import Evaluation

app = app_with_default("Fail if a candidate is less safe than a baseline.")

Results = Annotated[Path, typer.Argument(help="A folder or results file of lm_eval, of one model.")]
OutFile = Annotated[Path | None, typer.Option(help="The file to write; default: print it.")]
ClusterBy = Annotated[
    str, typer.Option(help="The field of a question whose equal values mark dependent questions.")
]


@app.command(DEFAULT, hidden=True)
def check(
    baseline: Annotated[
        Path, typer.Option(help="The release to compare with: results, or a frozen file.")
    ],
    candidate: Annotated[Path, typer.Option(help="The results of what is to be released.")],
    policy: Annotated[Path | None, typer.Option(help="A YAML file; see `check init`.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write JSON.")] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="What may differ: version, judge, prompts, chat-template, generation, "
            "attack, thinking, questions."
        ),
    ] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show questions and responses that flipped.")
    ] = False,
) -> None:
    """Fail if a candidate is less safe than a baseline.

    Exit status: 0 passed, 1 a regression, 2 undecided or bad input.

    `safemerge check init DIR` writes a first policy, `safemerge check freeze DIR` a baseline file.

    Example: safemerge check --baseline results/release --candidate results/candidate
    """
    from safemerge_tasks.gate.decision import compare
    from safemerge_tasks.gate.policy import Policy, read_policy
    from safemerge_tasks.gate.texts import flipped_texts

    asked = read_policy(policy) if policy else Policy()
    accepted = _accepted(accept or [])
    sides = _load(baseline, asked.cluster_by), _load(candidate, asked.cluster_by)
    # Hundreds of thousands of answers stay until the end: looking for cycles in them takes seconds.
    gc.freeze()
    result = compare(*sides, asked, accepted)
    texts = flipped_texts(result, candidate) if show_text and candidate.is_dir() else {}
    _write(result, texts, junit, markdown, json_file)
    sys.exit(result.exit_status)


@app.command("init")
def init(results: Results, out: OutFile = None) -> None:
    """Write a first policy, with comments, for the safety tasks of a baseline.

    Example: safemerge check init results/release --out policy.yaml
    """
    from safemerge_tasks.gate.draft import draft_policy

    text = draft_policy(_load(results, "cluster"))
    if out is None:
        print(text, end="")
        return
    if out.exists():
        raise SafemergeError(f"{out} exists; name another file with --out, or remove it.")
    write_file(out, text)


@app.command("freeze")
def freeze(
    results: Results,
    out: Annotated[Path, typer.Option(help="The baseline file to write.")],
    cluster_by: ClusterBy = "cluster",
) -> None:
    """Keep a baseline's verdicts, settings and versions in one small file, without any text.

    Example: safemerge check freeze results/release --out baseline.json
    """
    from safemerge_tasks.gate.frozen import freeze as write_frozen

    found = _load(results, cluster_by)
    write_frozen(found, out, cluster_by)
    print(f"{out}: {len(found.tasks)} tasks of {found.model}", file=sys.stderr)


def _load(path: Path, cluster_by: str) -> "Evaluation":
    from safemerge_tasks.gate.frozen import load_frozen
    from safemerge_tasks.results import is_results_file
    from safemerge_tasks.results.loading import load_folder

    if path.is_file() and not is_results_file(path):
        return load_frozen(path, cluster_by)
    return load_folder(path, cluster_by)


def _accepted(words: list[str]) -> list[str]:
    from safemerge_tasks.gate.pairing import ACCEPTABLE

    known = sorted(set(ACCEPTABLE.values()))
    given = [part.strip() for word in words for part in word.split(",") if part.strip()]
    for word in given:
        if word not in known:
            raise SafemergeError(f"--accept {word} is not known; known are {', '.join(known)}.")
    return given


def _write(
    result: "GateResult",
    texts: dict[bytes, tuple[str, str]],
    junit: Path | None,
    markdown: Path | None,
    json_file: Path | None,
) -> None:
    from safemerge_tasks.report.documents.gate import gate_document
    from safemerge_tasks.report.renderers.github import announce, fits_summary
    from safemerge_tasks.report.renderers.json import as_json
    from safemerge_tasks.report.renderers.junit import as_junit
    from safemerge_tasks.report.renderers.markdown import as_markdown
    from safemerge_tasks.report.renderers.terminal import SHOWN, print_document

    document = gate_document(result, texts)
    print_document(document, folded_rows=None if texts else SHOWN)
    page = as_markdown(document, level=2)
    if junit:
        write_file(junit, as_junit(document))
    if markdown:
        write_file(markdown, page)
    if json_file:
        write_file(json_file, as_json(document))
    # GitHub shows nothing of a summary that is too long; questions by id are what it can have.
    announce(document, page if fits_summary(page) else as_markdown(gate_document(result, {}), 2))

"""The `safemerge check` commands: the gate, a first policy, and a baseline as a file."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._default_command import DEFAULT, app_with_default
from safemerge_tasks.cli._outputs import refuse_overwriting
from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError

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
    sarif: Annotated[Path | None, typer.Option(help="Write what got worse as SARIF.")] = None,
    attest: Annotated[
        Path | None, typer.Option(help="Write a signed attestation: --sign-with, or --keyless.")
    ] = None,
    sign_with: Annotated[
        Path | None, typer.Option(help="The private key in PEM: Ed25519 or ECDSA.")
    ] = None,
    tracking: Annotated[
        str | None,
        typer.Option(help="Send the figures to wandb, mlflow or trackio."),
    ] = None,
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Sign as who you are, through Sigstore.")
    ] = False,
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
    from safemerge_tasks.gate.attestation import statement
    from safemerge_tasks.gate.decision import compare
    from safemerge_tasks.gate.frozen import load_evaluation
    from safemerge_tasks.gate.keyless import require as require_sigstore
    from safemerge_tasks.gate.keyless import sign as sign_keyless
    from safemerge_tasks.gate.pairing import accepted_words
    from safemerge_tasks.gate.policy import Policy, read_policy
    from safemerge_tasks.gate.signing import sign
    from safemerge_tasks.gate.texts import flipped_texts
    from safemerge_tasks.report.document import Name
    from safemerge_tasks.report.documents.gate import gate_document
    from safemerge_tasks.report.release import DEFAULT_POLICY
    from safemerge_tasks.report.renderers.github import announce
    from safemerge_tasks.report.renderers.json import as_json
    from safemerge_tasks.report.renderers.junit import as_junit
    from safemerge_tasks.report.renderers.markdown import as_markdown
    from safemerge_tasks.report.renderers.sarif import as_sarif
    from safemerge_tasks.report.renderers.terminal import SHOWN, print_document
    from safemerge_tasks.report.tracking import of_gate, tracker

    if keyless and sign_with:
        raise SafemergeError(f"give --keyless or --sign-with {sign_with}, one of them.")
    if (attest is None) != (sign_with is None and not keyless):
        raise SafemergeError(
            f"--attest {attest} and --sign-with {sign_with} or --keyless go together, since what "
            "nobody signed attests nothing; give both or neither."
        )
    outputs = {"--junit": junit, "--markdown": markdown, "--json": json_file, "--sarif": sarif}
    refuse_overwriting({**outputs, "--attest": attest}, (baseline, candidate, policy, sign_with))
    if keyless:
        require_sigstore()
    send = tracker(tracking) if tracking else None
    asked = read_policy(policy) if policy else Policy()
    accepted = accepted_words(accept or [])
    sides = (
        load_evaluation(baseline, asked.cluster_by),
        load_evaluation(candidate, asked.cluster_by),
    )
    # Hundreds of thousands of answers stay until the end: looking for cycles in them takes seconds.
    gc.freeze()
    result = compare(*sides, asked, accepted)
    texts = flipped_texts(result, candidate, baseline) if show_text else {}
    document = gate_document(result, texts, Name(str(policy)) if policy else DEFAULT_POLICY)

    def signed() -> str:
        content = statement(result, asked, baseline, candidate, policy)
        return sign(content, sign_with) if sign_with else sign_keyless(content)

    reports: tuple[tuple[Path | None, Callable[[], str]], ...] = (
        (junit, lambda: as_junit(document)),
        (markdown, lambda: as_markdown(document, level=2)),
        (json_file, lambda: as_json(document)),
        (sarif, lambda: as_sarif(result)),
        (attest, signed),
    )
    failed: list[SafemergeError] = []
    # One that cannot be written takes no other with it, nor does a reader who has read enough.
    for path, make in reports:
        try:
            if path:
                write_file(path, make())
        except SafemergeError as error:
            failed.append(error)
    print_document(document, folded_rows=None if texts else SHOWN)
    announce(document)
    if failed:
        raise failed[0]
    if send:
        send([of_gate(result, str(policy) if policy else DEFAULT_POLICY)])
    sys.exit(result.exit_status)


@app.command("init")
def init(results: Results, out: OutFile = None) -> None:
    """Write a first policy, with comments, for the safety tasks of a baseline.

    Example: safemerge check init results/release --out policy.yaml
    """
    from safemerge_tasks.gate.draft import draft_policy
    from safemerge_tasks.gate.frozen import load_evaluation

    text = draft_policy(load_evaluation(results, "cluster"))
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
    from safemerge_tasks.gate.frozen import load_evaluation
    from safemerge_tasks.report.printable import printable

    refuse_overwriting({"--out": out}, (results,))
    found = load_evaluation(results, cluster_by)
    write_frozen(found, out, cluster_by)
    print(printable(f"{out}: {len(found.tasks)} tasks of {found.model}"), file=sys.stderr)

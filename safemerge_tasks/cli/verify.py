"""The `safemerge verify` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safemerge_tasks.cli._merging import Json, say
from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.gate.attestation import Role

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="A merged checkpoint, or the folder of several.")
    ] = None,
    attestation: Annotated[
        Path | None, typer.Option(help="A file of `check --attest` to check; needs --key.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The signer's public key, in PEM; you have to know it.")
    ] = None,
    candidate: Annotated[
        Path | None, typer.Option(help="The candidate's results, to be those attested.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="The baseline's results or file, to be those attested.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="The policy file, to be the one attested.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a merged checkpoint against its manifest, or a gate's attestation against its key.

    A manifest holds checksums: they find damage, and say nothing of who wrote them. An attestation
    is signed. One bit that is not as it was, in it or in the files that are named, fails.

    Example: safemerge verify --attestation gate.json --key release.pub --candidate results/new
    """
    given: dict[Role, Path | None] = {
        "candidate": candidate,
        "baseline": baseline,
        "policy": policy,
    }
    files: dict[Role, Path] = {role: path for role, path in given.items() if path}
    if attestation is None:
        for option, path in (("key", key), *files.items()):
            if path:
                raise SafemergeError(f"--{option} {path} needs --attestation; add it.")
        if folder is None:
            raise SafemergeError("give a merged checkpoint's folder, or --attestation FILE.")
        from merge.output.verification import verify as run_verify

        say({"verified": [str(path) for path in run_verify(folder)]}, as_json)
        return
    if folder:
        raise SafemergeError(f"give {folder} or --attestation {attestation}, one at a time.")
    if key is None:
        raise SafemergeError(
            f"{attestation} is worth what its signer's key is; give the public key with --key."
        )
    from safemerge_tasks.gate.attestation import check_files, read_statement
    from safemerge_tasks.gate.signing import verified_payload

    found = read_statement(verified_payload(attestation, key), attestation)
    checked = check_files(found, files, attestation)
    predicate = found.predicate
    outcome = {
        "signature": f"that of {key}",
        "verdict": predicate.outcome,
        "candidate": predicate.candidate.model,
        "baseline": predicate.baseline.model,
        "created": predicate.created,
        "file as attested": checked,
        "notes": [
            f"the files of the {role} were not compared; give --{role}"
            for role, place in given.items()
            if not place and (role != "policy" or predicate.policy_file)
        ],
    }
    say(outcome, as_json)

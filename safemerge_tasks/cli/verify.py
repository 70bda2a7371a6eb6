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
        Path | None,
        typer.Option(help="A file of `check --attest`; needs --key, or --identity and --issuer."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The signer's public key, in PEM; you have to know it.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option(help="Who has to have signed it, without a key: an address.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="The identity provider that has to have said so.")
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
        who = (("key", key), ("identity", identity), ("issuer", issuer))
        for option, value in (*who, *files.items()):
            if value:
                raise SafemergeError(f"--{option} {value} needs --attestation; add it.")
        if folder is None:
            raise SafemergeError("give a merged checkpoint's folder, or --attestation FILE.")
        from merge.output.verification import verify as run_verify

        say({"verified": [str(path) for path in run_verify(folder)]}, as_json)
        return
    if folder:
        raise SafemergeError(f"give {folder} or --attestation {attestation}, one at a time.")
    if key and (identity or issuer):
        raise SafemergeError(f"give --key {key} or --identity and --issuer, not both.")
    if bool(identity) != bool(issuer):
        raise SafemergeError(
            f"--identity {identity} and --issuer {issuer} go together: who signed, and who says so."
        )
    if key is None and identity is None:
        raise SafemergeError(
            f"{attestation} is worth what its signer is; give the public key with --key, or "
            "--identity and --issuer."
        )
    from safemerge_tasks.gate.attestation import check_files, read_statement
    from safemerge_tasks.gate.keyless import verified_payload as keyless_payload
    from safemerge_tasks.gate.signing import verified_payload

    if key:
        payload, signer = verified_payload(attestation, key), f"that of {key}"
    else:
        assert identity
        assert issuer
        payload = keyless_payload(attestation, identity, issuer)
        signer = f"that of {identity}, says {issuer}"
    found = read_statement(payload, attestation)
    checked = check_files(found, files, attestation)
    predicate = found.predicate
    outcome = {
        "signature": signer,
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

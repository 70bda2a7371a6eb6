"""Signing without a key of one's own: Sigstore's bundles, whose signer is an identity.

An identity provider, such as a CI server's, says who signs; Sigstore certifies a key of minutes for
it and writes the signature into a public log. All of that is the package `sigstore`'s, and asks the
network; what is signed is the same statement as with a key (`signing.py`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.gate.signing import PAYLOAD_TYPE

EXTRA = "pip install 'safemerge[keyless]'"


def require() -> None:
    """Refuse to begin without the package.

    Raises:
        SafemergeError: it is not installed.
    """
    try:
        import sigstore  # noqa: F401
    except ImportError as error:
        raise SafemergeError(f"--keyless needs the package sigstore; {EXTRA}.") from error


def sign(payload: bytes) -> str:
    """Return a Sigstore bundle around an in-toto statement, as the text of a file.

    The identity is what the environment has (GitHub's with `id-token: write`, GitLab's
    `SIGSTORE_ID_TOKEN` and others), else asked for in a browser, on a terminal only.

    Raises:
        SafemergeError: there is no identity, or Sigstore cannot be asked.
    """
    require()
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken, Issuer, detect_credential
    from sigstore.sign import SigningContext

    with _explained("nothing was signed"):
        given = detect_credential()
        if given is None and not sys.stdin.isatty():
            raise SafemergeError(
                "--keyless found no identity here; run it where CI gives one (on GitHub with "
                "`id-token: write`) or on a terminal, or use --sign-with KEY."
            )
        trust = ClientTrustConfig.production()
        token = (
            IdentityToken(given)
            if given
            else Issuer(trust.signing_config.get_oidc_url()).identity_token()
        )
        with SigningContext.from_trust_config(trust).signer(token) as signer:
            bundle: str = signer.sign_dsse(Statement(payload)).to_json()
    return bundle


def verified_payload(bundle: Path, identity: str, issuer: str) -> bytes:
    """Return the statement in a bundle that was signed by an identity.

    Args:
        bundle: what `sign` wrote.
        identity: an address, or a workflow's, that has to be the signer's.
        issuer: address of the provider that has to have said so.

    Raises:
        SafemergeError: it is no bundle down to the last bit, was signed by somebody else, or
            Sigstore's keys cannot be had.
    """
    require()
    from sigstore.models import Bundle, InvalidBundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    try:
        written = bundle.read_bytes()
    except OSError as error:
        raise SafemergeError(f"{bundle} cannot be read ({error.strerror}).") from error
    try:
        found = Bundle.from_json(written)
    except (InvalidBundle, ValueError) as error:
        raise SafemergeError(
            f"{bundle} is no Sigstore bundle ({brief(error)}); write it with `safemerge check "
            "--attest FILE --keyless`, or give --key for one that was signed with a key."
        ) from error
    # Spaces and unused bits of base64 are no part of what is signed.
    if found.to_json().encode() != written:
        raise SafemergeError(f"{bundle} is not as it was written; do not trust it.")
    with _explained(f"{bundle} is not to be trusted as it is"):
        kind, payload = Verifier.production().verify_dsse(
            found, Identity(identity=identity, issuer=issuer)
        )
    if kind != PAYLOAD_TYPE:
        raise SafemergeError(f"{bundle} holds {kind}, not {PAYLOAD_TYPE}; do not trust it.")
    return bytes(payload)


@contextmanager
def _explained(outcome: str) -> Iterator[None]:
    """Make one sentence of what Sigstore, its repository of keys or the network fail with."""
    try:
        yield
    except SafemergeError:
        raise
    # Without a network it is an error of any of four libraries.
    except Exception as error:
        raise SafemergeError(
            f"Sigstore says no ({brief(error)}), so {outcome}; it needs a network, or use a key."
        ) from error

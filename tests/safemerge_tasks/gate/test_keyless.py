"""Signing as an identity: Sigstore's own bundle and policy, with stand-ins for what is online."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.results import Run
from tests.command_line import Done

WHO, ISSUER = "release@example.org", "https://accounts.example.org"
CHECK = ("check", "--baseline", "a", "--candidate", "b")
SIGN = (*CHECK, "--attest", "gate.json", "--keyless")
VERIFY = ("verify", "--attestation", "gate.json", "--candidate", "b", "--baseline", "a")


@pytest.fixture
def results(write: Callable[..., Run]) -> None:
    write("a", [0.0] * 200)
    write("b", [0.0] * 200)


def test_what_goes_together(
    results: None, safemerge: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safemerge_tasks.gate.keyless.require", lambda: None)
    for words, said in {
        (*CHECK, "--keyless"): "or --keyless go together",
        (*CHECK, "--attest", "g"): "or --keyless go together",
        (*SIGN, "--sign-with", "k.pem"): "give --keyless or --sign-with k.pem",
        (*VERIFY, "--identity", WHO): "go together",
        (*VERIFY, "--issuer", ISSUER): "go together",
        VERIFY: "--identity and --issuer",
        (*VERIFY, "--key", "k", "--identity", WHO): "give --key k or --identity",
        ("verify", "--issuer", ISSUER): f"--issuer {ISSUER} needs --attestation",
    }.items():
        done = safemerge(*words)
        assert done.status == 2, words
        assert said in done.err


def test_without_the_package(
    results: None, safemerge: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sigstore", None)
    for words in (SIGN, (*VERIFY, "--identity", WHO, "--issuer", ISSUER)):
        done = safemerge(*words)
        assert done.status == 2
        assert "needs the package sigstore; pip install 'safemerge[keyless]'" in done.err
    assert not (tmp_path / "gate.json").exists()


class Online:
    """What Sigstore's servers do: certify a key for an identity, and check who certified it."""

    def __init__(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        self.key = ec.generate_private_key(ec.SECP256R1())
        now, name = datetime.now(UTC), x509.Name([])
        issuer = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
        self.certificate = (
            x509.CertificateBuilder(name, name, self.key.public_key(), 7)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(WHO)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(issuer, ISSUER.encode()), critical=False)
            .sign(self.key, SHA256())
        )

    def sign_dsse(self, statement: Any) -> Any:
        """Return a bundle whose envelope is signed, and whose entry in the log is none."""
        from sigstore import dsse
        from sigstore.models import Bundle, TransparencyLogEntry

        envelope = dsse._sign(self.key, statement)
        entry = TransparencyLogEntry._from_v1_response({"id": LOGGED})
        return Bundle._from_parts(self.certificate, envelope, entry)

    def verify_dsse(self, bundle: Any, policy: Any) -> tuple[str, bytes]:
        """Check the identity by its policy and the envelope's signature, as the real one does."""
        from sigstore import dsse

        policy.verify(bundle.signing_certificate)
        envelope = bundle._dsse_envelope
        payload = dsse._verify(bundle.signing_certificate.public_key(), envelope)
        return envelope._inner.payload_type, payload


DIGEST = {"algorithm": "sha256", "value": "ab" * 32}
BODY = {
    "apiVersion": "0.0.1",
    "kind": "dsse",
    "spec": {
        "envelopeHash": DIGEST,
        "payloadHash": DIGEST,
        "signatures": [{"signature": "AAAA", "verifier": "AAAA"}],
    },
}
LOGGED = {
    "body": b64encode(json.dumps(BODY).encode()).decode(),
    "integratedTime": 1767225600,
    "logID": "ab" * 32,
    "logIndex": 3,
    "verification": {
        "inclusionProof": {
            "checkpoint": "log\n1\nAA==\n\n\u2014 log AAAA\n",
            "hashes": [],
            "logIndex": 0,
            "rootHash": "cd" * 32,
            "treeSize": 1,
        },
        "signedEntryTimestamp": "AAAA",
    },
}


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Online:
    """Replace what asks the network: the identity, Sigstore's keys, its certificates, its log."""
    pytest.importorskip("sigstore", reason="the extra keyless is not installed")
    from contextlib import nullcontext

    found = Online()
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: "token")
    monkeypatch.setattr("sigstore.oidc.IdentityToken", lambda raw: raw)
    monkeypatch.setattr("sigstore.models.ClientTrustConfig.production", lambda: SimpleNamespace())
    context = SimpleNamespace(signer=lambda token: nullcontext(found) if token == "token" else 1)
    monkeypatch.setattr("sigstore.sign.SigningContext.from_trust_config", lambda _: context)
    monkeypatch.setattr("sigstore.verify.Verifier.production", lambda: found)
    return found


def test_who_signed_is_who_is_asked_for(
    results: None, online: Online, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    done = safemerge(*SIGN)
    assert done.status == 0, done.err
    bundle = json.loads((tmp_path / "gate.json").read_text())
    assert bundle["mediaType"].startswith("application/vnd.dev.sigstore.bundle")
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    done = safemerge(*VERIFY, "--identity", WHO, "--issuer", ISSUER, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["verdict"] == "passed"
    assert json.loads(done.out)["signature"] == f"that of {WHO}, says {ISSUER}"
    for identity, issuer in (("other@example.org", ISSUER), (WHO, "https://other.example.org")):
        done = safemerge(*VERIFY, "--identity", identity, "--issuer", issuer)
        assert done.status == 2
        assert "Sigstore says no" in done.err


def test_one_flipped_bit_is_refused(
    results: None, online: Online, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    safemerge(*SIGN)
    path = tmp_path / "gate.json"
    whole = path.read_bytes()
    # Of the signed envelope; certificate and log are for Sigstore's own verifier to check.
    first = whole.index(b'"dsseEnvelope"')
    for place in range(first * 8, len(whole) * 8, 101):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        done = safemerge(*VERIFY, "--identity", WHO, "--issuer", ISSUER)
        assert done.status == 2, (place, whole[place // 8 :][:20])
        assert len(done.err.strip().splitlines()) == 1


def test_without_a_network_nothing_is_written(
    results: None,
    safemerge: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The real client where it asks for Sigstore's keys first, and where there is no identity."""
    pytest.importorskip("sigstore", reason="the extra keyless is not installed")
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: None)
    done = safemerge(*SIGN)
    assert done.status == 2
    assert "--keyless found no identity here" in done.err

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: "token")
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = safemerge(*SIGN)
    assert done.status == 2
    assert "Sigstore says no (" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "gate.json").exists()

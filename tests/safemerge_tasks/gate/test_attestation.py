"""What a release manager signs: the verdict, and every file that it rests on."""

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.results import Run

pytest.importorskip("cryptography", reason="the extra sign is not installed")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

KINDS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
}
PASSED = [0.0] * 200
WORSE = [1.0] * 60 + [0.0] * 140


def write_key(folder: Path, kind: str, name: str = "key", password: str = "") -> Any:
    key = KINDS[kind]()
    form = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, form)
    (folder / f"{name}.pem").write_bytes(private)
    public = key.public_key()
    (folder / f"{name}.pub").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public


@pytest.fixture
def attest(write: Callable[..., Run], safemerge: Callable, tmp_path: Path) -> Callable:
    """Return a function that attests a comparison with a policy, and what it is verified with."""

    def make(kind: str = "ed25519", candidate: list[float] = PASSED) -> tuple[str, ...]:
        write_key(tmp_path, kind)
        write("a", PASSED)
        write("b", candidate)
        (tmp_path / "p.yaml").write_text("tasks: {toy_asr: {metrics: {asr: {max_increase: 0.1}}}}")
        words = ("--baseline", "a", "--candidate", "b", "--policy", "p.yaml")
        done = safemerge("check", *words, "--attest", "gate.json", "--sign-with", "key.pem")
        assert done.status == (1 if candidate is WORSE else 0), done.err
        return ("verify", "--attestation", "gate.json", "--key", "key.pub", *words)

    return make


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "p521"])
def test_every_kind_of_key_signs_and_verifies(
    attest: Callable, safemerge: Callable, kind: str
) -> None:
    done = safemerge(*attest(kind))
    assert done.status == 0, done.err
    assert "verdict: passed" in done.out
    assert "file as attested p.yaml" in done.out


def test_it_is_an_in_toto_statement_in_a_dsse_envelope(
    attest: Callable, safemerge: Callable, tmp_path: Path
) -> None:
    """Read and verified with nothing of ours."""
    attest(candidate=WORSE)
    envelope = json.loads((tmp_path / "gate.json").read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = b64decode(envelope["payload"])
    (signature,) = envelope["signatures"]
    public = write_key(tmp_path, "ed25519", "other")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key((tmp_path / "key.pub").read_bytes())
    signed = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" "
    public.verify(b64decode(signature["sig"]), signed + payload)  # type: ignore[union-attr,call-arg]
    found = json.loads(payload)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert {one["name"]: one["digest"]["sha256"] for one in found["subject"]} == {
        path.relative_to(tmp_path / "b").as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "b/model").iterdir()
    }
    told = found["predicate"]
    assert told["outcome"] == "regression"
    assert told["grade"] == 1
    policy = sha256((tmp_path / "p.yaml").read_bytes()).hexdigest()
    assert told["policy_file"] == {"name": "p.yaml", "digest": {"sha256": policy}}
    assert told["policy"]["tasks"]["toy_asr"]["metrics"]["asr"]["max_increase"] == 0.1
    assert told["judges"]["toy_asr"]["wildguard"]["revision"] == "abc"
    assert told["tool"]["name"] == "safemerge"
    assert told["checks"][0]["change"] == pytest.approx(0.3)
    assert "loaf" not in payload.decode()


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_one_flipped_bit_anywhere_in_the_attestation_fails(
    attest: Callable, safemerge: Callable, tmp_path: Path, kind: str
) -> None:
    words = attest(kind)
    path = tmp_path / "gate.json"
    good = path.read_bytes()
    envelope = json.loads(good)
    rng = random.Random(7)
    # The ends of both base64 texts have bits that decode to nothing.
    ends = [
        good.index(text.encode()) + len(text) - 1
        for text in (envelope["payload"], envelope["signatures"][0]["sig"].rstrip("="))
    ]
    places = {*ends, 0, len(good) - 1, *rng.sample(range(len(good)), 60)}
    places |= set(range(good.index(b'"payloadType"'), good.index(b'"sig"') + 8))
    for place in sorted(places):
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        done = safemerge(*words)
        assert done.status == 2, place
        assert done.err.count("\n") == 1
    path.write_bytes(good)
    assert safemerge(*words).status == 0


@pytest.mark.parametrize("where", ["a/model/*", "b/model/*", "p.yaml"])
def test_one_flipped_bit_in_a_file_that_was_compared_fails(
    attest: Callable, safemerge: Callable, tmp_path: Path, where: str
) -> None:
    words = attest()
    for path in tmp_path.glob(where):
        good = path.read_bytes()
        for place in (1, len(good) // 2, len(good) - 1):
            spoilt = bytearray(good)
            spoilt[place] ^= 1
            path.write_bytes(spoilt)
            assert safemerge(*words).status == 2, (path, place)
        path.write_bytes(good)
    assert safemerge(*words).status == 0


def test_files_that_are_missing_and_more_than_there_were(
    attest: Callable, safemerge: Callable, write: Callable[..., Run], tmp_path: Path
) -> None:
    words = attest()
    write("b", PASSED, date="2026-02-02T00-00-00.000001")
    done = safemerge(*words)
    assert done.status == 2
    assert "has no model/results_2026-01-01" in done.err
    for path in (tmp_path / "b/model").glob("*2026-02-02*"):
        path.unlink()
    assert safemerge(*words).status == 0
    next((tmp_path / "b/model").glob("samples_*")).unlink()
    assert "has no model/samples_toy_asr" in safemerge(*words).err


def test_what_was_not_compared_is_said(attest: Callable, safemerge: Callable) -> None:
    words = attest()[:5]
    done = safemerge(*words)
    assert done.status == 0
    for role in ("candidate", "baseline", "policy"):
        assert f"the files of the {role} were not compared; give --{role}" in done.err


def test_a_frozen_baseline_is_attested_as_one_file(
    attest: Callable, safemerge: Callable, tmp_path: Path
) -> None:
    attest()
    assert safemerge("check", "freeze", "a", "--out", "base.json").status == 0
    words = ("--baseline", "base.json", "--candidate", "b")
    key = ("--attest", "gate.json", "--sign-with", "key.pem")
    assert safemerge("check", *words, *key).status == 0
    verify = ("verify", "--attestation", "gate.json", "--key", "key.pub", *words)
    assert "file as attested base.json" in safemerge(*verify).out
    assert "made without a policy file" in safemerge(*verify, "--policy", "p.yaml").err


def test_another_key_is_not_the_signers(
    attest: Callable, safemerge: Callable, tmp_path: Path
) -> None:
    words = attest()
    for kind in ("ed25519", "p256"):
        write_key(tmp_path, kind, "key")
        done = safemerge(*words)
        assert done.status == 2
        assert "was not signed with key.pub" in done.err


def test_an_encrypted_key_needs_its_password(
    attest: Callable, safemerge: Callable, tmp_path: Path
) -> None:
    attest()
    write_key(tmp_path, "p384", password="open")
    words = ("check", "--baseline", "a", "--candidate", "b")
    key = ("--attest", "new.json", "--sign-with", "key.pem")
    done = safemerge(*words, *key)
    assert done.status == 2
    assert "SAFEMERGE_KEY_PASSWORD" in done.err
    assert not (tmp_path / "new.json").exists()
    assert safemerge(*words, *key, environment={"SAFEMERGE_KEY_PASSWORD": "open"}).status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify",), "give a merged checkpoint's folder"),
        (("verify", "--key", "key.pub"), "--key key.pub needs --attestation"),
        (("verify", "--attestation", "gate.json"), "give the public key with --key"),
        (("verify", "x", "--attestation", "gate.json"), "one at a time"),
        (("verify", "--attestation", "p.yaml", "--key", "key.pub"), "is no signed attestation"),
        (("verify", "--attestation", "gate.json", "--key", "p.yaml"), "is no public key"),
        (("verify", "--attestation", "none", "--key", "key.pub"), "none cannot be read"),
        (("check", "--attest", "x"), "go together"),
        (("check", "--sign-with", "key.pem"), "go together"),
        (("check", "--attest", "x", "--sign-with", "key.pub"), "is no private key"),
    ],
)
def test_bad_input_is_one_sentence(
    attest: Callable, safemerge: Callable, words: tuple[str, ...], said: str
) -> None:
    attest()
    sides = ("--baseline", "a", "--candidate", "b") if words[0] == "check" else ()
    done = safemerge(*words, *sides)
    assert done.status == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["rsa", "k1", "brainpool"])
def test_keys_of_other_kinds_are_refused(
    attest: Callable, safemerge: Callable, tmp_path: Path, kind: str
) -> None:
    words = attest()
    write_key(tmp_path, kind)
    sides = ("--baseline", "a", "--candidate", "b")
    done = safemerge("check", *sides, "--attest", "x", "--sign-with", "key.pem")
    assert (done.status, "is a key of another kind" in done.err) == (2, True)
    assert safemerge(*words).status == 2


def test_a_signed_statement_of_another_kind_is_refused(
    attest: Callable, safemerge: Callable, tmp_path: Path
) -> None:
    from safemerge_tasks.gate.signing import sign

    words = attest()
    payload = b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "other"}'
    (tmp_path / "gate.json").write_text(sign(payload, tmp_path / "key.pem"))
    done = safemerge(*words)
    assert done.status == 2
    assert "is a statement of another kind" in done.err


P256 = bytes.fromhex("06082a8648ce3d030107")
"""The curve's name in DER."""


def test_a_curve_that_nothing_here_knows_is_refused(
    attest: Callable, safemerge: Callable, tmp_path: Path
) -> None:
    words = attest()
    write_key(tmp_path, "p256")
    for name in ("key.pem", "key.pub"):
        begin, *lines, end = (tmp_path / name).read_text().splitlines()
        der = b64decode("".join(lines))
        assert der.count(P256) == 1
        unknown = b64encode(der.replace(P256, P256[:-1] + b"\x63")).decode()
        (tmp_path / name).write_text(f"{begin}\n{unknown}\n{end}\n")
    sides = ("--baseline", "a", "--candidate", "b")
    done = safemerge("check", *sides, "--attest", "x", "--sign-with", "key.pem")
    assert (done.status, "key.pem is no private key" in done.err) == (2, True)
    done = safemerge(*words)
    assert (done.status, "key.pub is no public key" in done.err) == (2, True)


def test_a_model_of_a_telling_name_says_no_other_verdict(
    safemerge: Callable, write: Callable[..., Run], tmp_path: Path
) -> None:
    write_key(tmp_path, "ed25519")
    write("a", PASSED)
    write("b", WORSE, model="toy\nverdict: passed\x1b[2J")
    words = ("--baseline", "a", "--candidate", "b")
    safemerge("check", *words, "--attest", "gate.json", "--sign-with", "key.pem")
    done = safemerge("verify", "--attestation", "gate.json", "--key", "key.pub", *words)
    assert done.status == 0, done.err
    told = [line for line in done.out.splitlines() if line.startswith("verdict")]
    assert told == ["verdict: regression"]
    assert "\x1b" not in done.out

"""Signed envelopes: DSSE (secure-systems-lab/dsse, v1.0) with one key, without any network.

`model_signing` signs manifests of a model's files and nothing else, so the envelope that it uses
itself is made here, with the keys that it takes too (ECDSA on NIST's curves), and Ed25519.
"""

import json
import os
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError, brief

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"

PASSWORD = "SAFEMERGE_KEY_PASSWORD"  # noqa: S105 (the name of a variable)
"""The environment variable that opens an encrypted private key."""

EXTRA = "pip install 'safemerge[sign]'"


def sign(payload: bytes, private_key: Path) -> str:
    """Return an envelope around a payload, as the text of a file.

    Args:
        payload: what is signed.
        private_key: a PEM file, Ed25519 or ECDSA on P-256, P-384 or P-521.

    Raises:
        SafemergeError: the key cannot be read or is of another kind, or `cryptography` is missing.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(PASSWORD)
    try:
        key = load_pem_private_key(_read(private_key), password.encode() if password else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SafemergeError(
            f"{private_key} is no private key in PEM that opens ({brief(error)}); give one of "
            f"`openssl genpkey -algorithm ed25519`, and {PASSWORD} if it is encrypted."
        ) from error
    if isinstance(key, Ed25519PrivateKey):
        signature = key.sign(_encoded(payload))
    elif isinstance(key, EllipticCurvePrivateKey):
        signature = key.sign(_encoded(payload), _ecdsa(key.public_key(), private_key))
    else:
        raise _other_kind(private_key, key)
    return _envelope(payload, signature, _key_id(key.public_key()))


def verified_payload(envelope: Path, public_key: Path) -> bytes:
    """Return the payload of an envelope whose signature is that key's.

    Raises:
        SafemergeError: it is no envelope as `sign` writes it, down to the last bit, or it was not
            signed with that key.
    """
    _require()
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(public_key))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SafemergeError(
            f"{public_key} is no public key in PEM ({brief(error)}); give what `openssl pkey "
            "-pubout` writes of the signer's."
        ) from error
    written = _read(envelope)
    try:
        content = json.loads(written)
        payload = b64decode(content["payload"], validate=True)
        (one,) = content["signatures"]
        signature = b64decode(one["sig"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SafemergeError(
            f"{envelope} is no signed attestation ({brief(error)}); write it with `safemerge check "
            "--attest`."
        ) from error
    # Unused bits of base64, white space and unsigned keys are no part of what is signed.
    if written != _envelope(payload, signature, _key_id(key)).encode():
        raise SafemergeError(
            f"{envelope} is not as it was written, or was not signed with {public_key}; do not "
            "trust it."
        )
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, _encoded(payload))
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, _encoded(payload), _ecdsa(key, public_key))
        else:
            raise _other_kind(public_key, key)
    except InvalidSignature as error:
        raise SafemergeError(
            f"{envelope}: the signature is not that of {public_key} on this content; do not trust "
            "it."
        ) from error
    return payload


def _encoded(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _envelope(payload: bytes, signature: bytes, key_id: str) -> str:
    content = {
        "payload": b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": b64encode(signature).decode("ascii")}],
    }
    return json.dumps(content, indent=2) + "\n"


def _key_id(key: Any) -> str:
    """Return the SHA-256 of a public key as X.509 has it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _ecdsa(key: "EllipticCurvePublicKey", path: Path) -> "ECDSA":
    """Return the algorithm that belongs to a curve."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    kinds = {
        "secp256r1": ECDSA(SHA256()),
        "secp384r1": ECDSA(SHA384()),
        "secp521r1": ECDSA(SHA512()),
    }
    if key.curve.name not in kinds:
        raise _other_kind(path, key.curve.name)
    return kinds[key.curve.name]


def _other_kind(path: Path, key: object) -> SafemergeError:
    kind = key if isinstance(key, str) else type(key).__name__
    return SafemergeError(
        f"{path} is a key of another kind ({kind}); give Ed25519, or ECDSA on P-256, P-384 or "
        "P-521."
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SafemergeError(f"{path} cannot be read ({error.strerror}).") from error


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise SafemergeError(f"signatures need the package cryptography; {EXTRA}.") from error

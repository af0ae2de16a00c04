"""A C2PA manifest in a sound file: a signed statement that it is synthetic, and which version of a voice spoke it.

    make_keys("Ann's harbour")                          # once: .timbre/keys
    content = signed(content, "wav", {"voice": key})    # as it is where there are no keys
    found = credential(content, "wav")                  # Credential(voice=…, by=…, whole=True), or None

WAV, FLAC and MP3 carry a manifest; Ogg Opus, AAC and raw PCM cannot. It is made from the whole file, so a sound that is
sent while it is spoken has none. c2pa-python does the work (`pip install -c constraints.txt '.[credentials]'`). The
certificate is one of our own, which programs call valid and untrusted until somebody trusts it.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from timbre.core.content import write_atomic
from timbre.core.errors import DataError

KEYS = Path(".timbre/keys")  # never in git
PRIVATE, CERTIFICATES = "private.pem", "certificates.pem"
TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LABEL = "org.timbre.voice"
YEARS = 10  # that a certificate lasts


class Credential(NamedTuple):
    """What a manifest says, and whether the file is still what was signed."""

    voice: str | None  # the version's key
    by: str  # the name in the certificate, which anybody can choose
    whole: bool


def library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise DataError(
            "signing sounds needs c2pa-python: `pip install -c constraints.txt '.[credentials]'`; or go on without, by "
            "`timbre keys --remove`"
        ) from error
    return c2pa


def has_keys(folder: Path = KEYS) -> bool:
    return (folder / PRIVATE).is_file()


def make_keys(name: str, folder: Path = KEYS) -> None:
    """A key that signs sounds, and its certificates; the key that signed those is thrown away."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    library()
    if has_keys(folder):
        raise DataError(f"{folder}: holds a key already; `timbre keys --remove` removes it first")
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = _named(f"{name} (root)"), _named(name)
    chain = [_certificate(subject, issuer, own, root, False), _certificate(issuer, issuer, root, root, True)]
    pem = serialization.Encoding.PEM
    content = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    write_atomic(folder / CERTIFICATES, b"".join(one.public_bytes(pem) for one in chain))
    part = folder / f".{PRIVATE}.part"  # renamed when it is whole: a key is there or is not
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / PRIVATE)


def _named(name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        return x509.Name([x509.NameAttribute(oid, name) for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)])
    except ValueError as error:
        raise DataError(f"{name!r} is no name for a certificate; give 1 to 57 characters") from error


def _certificate(subject: Any, issuer: Any, key: Any, signer: Any, root: bool) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.UTC)
    others = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    usage = x509.KeyUsage(digital_signature=not root, key_cert_sign=root, crl_sign=root, **others)
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not root:
        certificate = certificate.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    return certificate.sign(signer, hashes.SHA256())


def signed(content: bytes, kind: str, about: Mapping[str, object], folder: Path = KEYS) -> bytes:
    """The file with a manifest, where there are keys and its container can hold one. `about` is what is said of it."""
    if kind not in TYPES or not about or not has_keys(folder):
        return content
    c2pa = library()
    action = {"action": "c2pa.created", "digitalSourceType": SYNTHETIC, "softwareAgent": {"name": "Timbre"}}
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}, {"label": LABEL, "data": dict(about)}]
    manifest = {
        "claim_generator_info": [{"name": "Timbre"}], "title": "Synthetic speech", "assertions": assertions
    }  # fmt: skip
    try:
        keys = [(folder / name).read_bytes() for name in (CERTIFICATES, PRIVATE)]
        target = io.BytesIO()
        with c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", *keys, None)) as signer:
            c2pa.Builder(json.dumps(manifest)).sign(signer, TYPES[kind], io.BytesIO(content), target)
    except (OSError, c2pa.C2paError) as error:
        raise DataError(
            f"{folder}: the sound cannot be signed with it ({error}); `timbre keys` makes another"
        ) from error
    return target.getvalue()


def credential(content: bytes, kind: str) -> Credential | None:
    """What the file's manifest says; None without a manifest, or without the library. Nothing is fetched for it."""
    if kind not in TYPES:
        return None
    try:
        import c2pa

        offline = c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
        with c2pa.Context(offline) as context, c2pa.Reader(TYPES[kind], io.BytesIO(content), context=context) as reader:
            store = json.loads(reader.json())
        manifest = store["manifests"][store["active_manifest"]]
        said: dict[str, object] = next((one["data"] for one in manifest["assertions"] if one["label"] == LABEL), {})
        by = str((manifest.get("signature_info") or {}).get("common_name", ""))
        voice = said.get("voice")
        return Credential(voice if isinstance(voice, str) else None, by, store["validation_state"] != "Invalid")
    except Exception:  # no library, or a file of whoever it may be: what it lacks is no mistake of the user's
        return None

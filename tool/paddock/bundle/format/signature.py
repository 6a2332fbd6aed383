"""Ed25519 signatures and keys in minisign's file formats: either tool checks what the other has signed.

Only what bundles need: prehashed signatures with a trusted comment, secret keys without a password. A
signature file must be exactly what `minisign -S` writes: a byte that could be changed unnoticed is refused.
Formats: jedisct1/minisign, src/minisign.h, and its manual page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from paddock.bundle.format.reader import read_whole
from paddock.durable import write_durably, writing
from paddock.errors import BundleError

if TYPE_CHECKING:  # at run time loaded where it is used: it is large, and few commands sign or check
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LARGEST_KEY = 4096  # bytes of a key or signature file that is read at all

_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_SIGNATURE_COMMENT = "signature from minisign secret key"
_ED, _PREHASHED, _NO_PASSWORD, _BLAKE2 = b"Ed", b"ED", bytes(2), b"B2"
_ID, _PUBLIC, _SECRET, _SIGNED = 8, 32, 64, 64  # lengths in bytes
_SECRET_FILE = 158  # bytes in the second line of a secret key's file
_SALT_AND_LIMITS = bytes(48)  # what a password would need
_NO_CHECKSUM = bytes(32)
_HOW_TO_MAKE_KEYS = "`paddock keygen KEY` makes a pair, and so does `minisign -G -W`"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicKey:
    """The key that checks signatures. A signature names it by its `number`."""

    number: bytes
    key: bytes

    @property
    def id(self) -> str:
        """The number as minisign writes it."""
        return key_id(self.number)

    @property
    def line(self) -> str:
        """The second line of the key file, which is the whole key."""
        return base64.b64encode(_ED + self.number + self.key).decode()

    def to_bytes(self, note: str = "") -> bytes:
        """The content of the key file; `note` ends its first line, which is for people."""
        return f"{_UNTRUSTED}minisign public key {self.id}{note}\n{self.line}\n".encode()

    @classmethod
    def from_line(cls, line: bytes, *, where: str) -> Self:
        """The key in the second line of a key file. Raises BundleError for anything else."""
        data = _decoded(line)
        if len(data) != len(_ED) + _ID + _PUBLIC:
            raise _no_key(where, "a minisign public key")
        if not data.startswith(_ED):
            raise BundleError(f"{where}: is no Ed25519 key of minisign", hint=_HOW_TO_MAKE_KEYS)
        return cls(number=data[2:10], key=data[10:])


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretKey:
    """The key that makes signatures."""

    number: bytes
    seed: bytes

    @property
    def public(self) -> PublicKey:
        """The public key that belongs to it."""
        return PublicKey(number=self.number, key=self._signer().public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The bare Ed25519 signature of a message."""
        return self._signer().sign(message)

    def to_bytes(self) -> bytes:
        """The content of the key file, without a password."""
        pair = self.number + self.seed + self.public.key
        packed = _ED + _NO_PASSWORD + _BLAKE2 + _SALT_AND_LIMITS + pair + _NO_CHECKSUM
        return f"{_UNTRUSTED}minisign encrypted secret key\n{base64.b64encode(packed).decode()}\n".encode()

    def _signer(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        return Ed25519PrivateKey.from_private_bytes(self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """A signature file. `comment` is the trusted comment; `seal` signs it together with `signed`."""

    number: bytes
    signed: bytes
    comment: str
    seal: bytes

    @property
    def key_id(self) -> str:
        """The number of the key, as minisign writes it."""
        return key_id(self.number)

    def to_bytes(self) -> bytes:
        """The content of the signature file."""
        first = base64.b64encode(_PREHASHED + self.number + self.signed).decode()
        second = base64.b64encode(self.seal).decode()
        return f"{_UNTRUSTED}{_SIGNATURE_COMMENT}\n{first}\n{_TRUSTED}{self.comment}\n{second}\n".encode()

    def holds(self, data: bytes, key: PublicKey) -> bool:
        """Whether `key` made this signature over `data` and over the comment."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PublicKey,
        )

        checker = Ed25519PublicKey.from_public_bytes(key.key)
        try:
            checker.verify(self.signed, _prehash(data))
            checker.verify(self.seal, self.signed + self.comment.encode())
        except InvalidSignature:
            return False
        return self.number == key.number


def key_id(number: bytes) -> str:
    """A key's number as minisign writes it: sixteen hexadecimal digits, the last byte first."""
    return number[::-1].hex().upper()


def generate() -> SecretKey:
    """A new key from the system's random numbers."""
    return SecretKey(number=os.urandom(_ID), seed=os.urandom(32))


def keygen(path: Path) -> PublicKey:
    """Write a new secret key to `path`, readable by its owner only, and its public key to `path`.pub.

    Raises BundleError where one of the files exists: neither is replaced.
    """
    key = generate()
    public = path.with_name(path.name + ".pub")
    for file in (path, public):
        if os.path.lexists(file):
            raise BundleError(f"{file}: exists, expected a new file", hint="a key that was replaced is lost")
    with writing(path):
        write_durably(path, key.to_bytes(), mode=0o600, replace=False)
        write_durably(public, key.public.to_bytes(), replace=False)
    return key.public


def sign(data: bytes, key: SecretKey, comment: str) -> Signature:
    """A prehashed signature over `data`; `comment` is signed, too, and must be one line."""
    signed = key.sign(_prehash(data))
    seal = key.sign(signed + comment.encode())
    return Signature(number=key.number, signed=signed, comment=comment, seal=seal)


def read_public(path: Path) -> PublicKey:
    """The public key in a file. Raises BundleError for anything else."""
    return PublicKey.from_line(_second_line(path, "a minisign public key"), where=str(path))


def read_comment(path: Path) -> str:
    """The first line of the file of a public key, which nothing signs."""
    return read_whole(path, LARGEST_KEY).partition(b"\n")[0].decode("utf-8", "replace")


def read_secret(path: Path) -> SecretKey:
    """The secret key in a file. Raises BundleError for anything else, and for a key with a password."""
    what = "a minisign secret key"
    data = _decoded(_second_line(path, what))
    if len(data) != _SECRET_FILE:
        raise _no_key(str(path), what)
    if data[4:6] != _BLAKE2 or not data.startswith(_ED):
        raise BundleError(f"{path}: is no Ed25519 key of minisign", hint=_HOW_TO_MAKE_KEYS)
    if data[2:4] != _NO_PASSWORD:
        raise BundleError(
            f"{path}: is protected by a password, expected a key without one",
            hint="sign with minisign itself, or make a key without one: `paddock keygen KEY`",
        )
    number, pair = data[54:62], data[62 : 62 + _SECRET]
    key = SecretKey(number=number, seed=pair[:32])
    if key.public.key != pair[32:]:
        raise BundleError(
            f"{path}: is damaged, its two halves do not belong together", hint=_HOW_TO_MAKE_KEYS
        )
    return key


def parse_signature(data: bytes, *, where: str) -> Signature:
    """The signature in a .minisig file. Raises BundleError for anything but what minisign writes."""
    try:
        _, first, comment, second, _ = data.decode().split("\n")
        packed = base64.b64decode(first, validate=True)
        seal = base64.b64decode(second, validate=True)
    except (ValueError, binascii.Error):
        raise _no_signature(where) from None
    signature = Signature(
        number=packed[2:10], signed=packed[10:], comment=comment.removeprefix(_TRUSTED), seal=seal
    )
    complete = len(signature.signed) == len(seal) == _SIGNED
    if not complete or signature.to_bytes() != data:
        raise _no_signature(where)
    return signature


def _no_signature(where: str) -> BundleError:
    return BundleError(
        f"{where}: is not a signature as `minisign -S` writes it (prehashed, with its own first line)",
        hint="it is damaged or was made in another way; sign again: `paddock sign DIR --key KEY`",
    )


def _prehash(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()


def _second_line(path: Path, what: str) -> bytes:
    """The second line of a key file. Raises BundleError for a file of another form than that of `what`."""
    first, _, rest = read_whole(path, LARGEST_KEY).partition(b"\n")
    if not first.startswith(_UNTRUSTED.encode()):
        raise _no_key(str(path), what)
    return rest.partition(b"\n")[0]


def _decoded(line: bytes) -> bytes:
    """The bytes that a line of base64 stands for; none for any other line."""
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        return b""


def _no_key(where: str, what: str) -> BundleError:
    return BundleError(
        f"{where}: is not {what}",
        hint="KEY signs and stays at the workshop; KEY.pub checks and goes to the sites",
    )

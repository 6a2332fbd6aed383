"""The keys that are trusted here: which count, until when, and which were revoked.

Keys for the whole host are pinned in /etc/paddock/keys, a user's own in `keys` of the state folder. Where the
host has keys only these count, for every user: nobody gets around them with keys of their own. A key is a
file ID.pub of minisign's, whose first line may end in the last date on which the key counts. Beside `keys`
lies the list of revoked keys, which are never trusted again. load.sh reads these files, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from paddock.bundle.format.reader import OpenBundle, read_whole
from paddock.bundle.format.revoked import LARGEST, REVOKED, parse_revoked, revoked_to_bytes
from paddock.bundle.format.signature import PublicKey, read_comment, read_public
from paddock.durable import write_durably, writing
from paddock.errors import BundleError, quoted, step_after

HOST = Path("/etc/paddock")  # no variable names another one: a user must not get around it
_KEYS = "keys"
_UNTIL = " until "
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustedKey:
    """A key in a file. `until` is the last date on which it counts, as in 2027-12-31 and in UTC, or empty."""

    path: Path
    key: PublicKey
    until: str = ""
    revoked: bool = False

    @property
    def trouble(self) -> str:
        """Why the key does not count today; empty if it does."""
        if self.revoked:
            return "was revoked"
        if self.until and self.until < f"{datetime.now(UTC):%Y-%m-%d}":
            return f"counted until {self.until}"
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyStore:
    """The keys in two folders: `host` for everybody, and `own`, the state folder of one user.

    Its methods raise BundleError for what cannot be read, or is no key: what it demands must not be lost.
    """

    own: Path
    host: Path = field(default_factory=lambda: HOST)

    def of_host(self) -> tuple[TrustedKey, ...]:
        """The keys for every user of this host, also those that were revoked or whose last date is over."""
        return self._pinned(self.host)

    def of_user(self) -> tuple[TrustedKey, ...]:
        """The user's own keys; they do not count where the host has some."""
        return self._pinned(self.own)

    def revoked(self) -> frozenset[PublicKey]:
        """The keys that are never trusted again."""
        return _revoked(self.host) | _revoked(self.own)

    def demanded(self, given: Sequence[Path] = ()) -> tuple[TrustedKey, ...]:
        """The keys of which one must have signed a bundle; none where nothing is pinned here or given.

        Files of keys in `given` take the place of the user's own. Where the host has keys they only say which
        of these it must be, and one that is not among them is refused.
        """
        of_host = self.of_host()
        revoked = self.revoked()
        named = tuple(_read(path, revoked) for path in given)
        if not of_host:
            return named or self.of_user()
        by_key = {trusted.key: trusted for trusted in of_host}
        for trusted in named:
            if trusted.key not in by_key:
                raise BundleError(
                    f"{trusted.path}: found key {trusted.key.id}, expected one of those in"
                    f" {self.host / _KEYS}, which alone count on this host",
                    hint="`paddock trust list` names them; root adds one:"
                    f" `paddock trust add {quoted(trusted.path)} --host`",
                )
        return tuple(by_key[trusted.key] for trusted in named) or of_host

    def pin(self, key: PublicKey, *, until: str = "", for_host: bool = False) -> Path:
        """From now on accept only bundles that this key signed, or another one that is pinned.

        Raises BundleError for a key that was revoked.
        """
        if _is_revoked(key, self.revoked()):
            raise BundleError(
                f"key {key.id}: was revoked, and is never trusted again",
                hint="ask the workshop for the key that it signs with now",
            )
        path = self._folder(for_host=for_host) / _KEYS / f"{key.id}.pub"
        write(path, key.to_bytes(f"{_UNTIL}{until}" if until else ""))
        return path

    def remove(self, key_id: str, *, for_host: bool = False) -> Path:
        """Take a pinned key back; the path of the file that is gone. Raises BundleError where none is."""
        folder = self._folder(for_host=for_host)
        for trusted in self._pinned(folder):
            if trusted.key.id == key_id.upper():
                with writing(trusted.path):
                    trusted.path.unlink()
                return trusted.path
        raise BundleError(
            f"{folder / _KEYS}: found no key {key_id}",
            hint=f"`paddock trust list` names those that are pinned; --host takes one of {self.host / _KEYS}",
        )

    def apply_revoked(self, bundle: OpenBundle) -> tuple[PublicKey, ...]:
        """Revoke what a bundle lists that a trusted key signed; the keys that were not revoked before.

        They are revoked for the whole host if its keys count here and this user may, else for this user.
        """
        new = _listed(bundle) - self.revoked()
        if new:
            folder = self._folder(for_host=bool(self.of_host()) and os.access(self.host, os.W_OK))
            write(folder / REVOKED, revoked_to_bytes(new | _revoked(folder)))
        return tuple(sorted(new, key=lambda key: key.id))

    def _folder(self, *, for_host: bool) -> Path:
        return self.host if for_host else self.own

    def _pinned(self, folder: Path) -> tuple[TrustedKey, ...]:
        place = folder / _KEYS
        try:
            paths = sorted(path for path in place.iterdir() if path.match("[!.]*.pub"))
        except FileNotFoundError:
            return ()
        except OSError as failed:
            hint = f"let every user read it: `sudo chmod a+rx {quoted(folder)} {quoted(place)}`"
            raise BundleError(
                f"{place}: cannot be read ({failed.strerror}), expected the keys that count here",
                hint=hint if isinstance(failed, PermissionError) else step_after(failed, place),
            ) from failed
        revoked = self.revoked()
        return tuple(_read(path, revoked) for path in paths)


def write(path: Path, data: bytes) -> None:
    """Write a file that checks of later bundles depend on, and its folder."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)


def _listed(bundle: OpenBundle) -> frozenset[PublicKey]:
    """The keys that a bundle revokes. Raises BundleError unless the list is what the manifest says."""
    for file in bundle.manifest.files:
        if file.path == REVOKED:
            return parse_revoked(bundle.read_file(file, LARGEST), where=str(bundle.path(REVOKED)))
    return frozenset()


def _revoked(folder: Path) -> frozenset[PublicKey]:
    path = folder / REVOKED
    return parse_revoked(read_whole(path, LARGEST), where=str(path)) if os.path.lexists(path) else frozenset()


def _is_revoked(key: PublicKey, revoked: frozenset[PublicKey]) -> bool:
    """Whether a key is in the list, be it under another number."""
    return any(key.number == gone.number or key.key == gone.key for gone in revoked)


def _read(path: Path, revoked: frozenset[PublicKey]) -> TrustedKey:
    key = read_public(path)
    _, dated, until = read_comment(path).rpartition(_UNTIL)
    if dated and not _DATE.fullmatch(until):
        raise BundleError(
            f'{path}: found {until!r} behind "until", expected a date such as 2027-12-31',
            hint=f"write a date there, or pin the key again without one: `paddock trust add {quoted(path)}`",
        )
    return TrustedKey(path=path, key=key, until=until, revoked=_is_revoked(key, revoked))

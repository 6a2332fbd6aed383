#!/usr/bin/env python3
"""Asks OSV for vulnerabilities of what images hold that templates/advisories.yaml does not know.

Exits 0 when there is nothing new, 1 when there is, and 5 when the database did not answer, or had no data: it
is asked for an old package as well, whose vulnerabilities are known, and must name some.

usage: scan-packages.py
OSV_ENDPOINT names a mirror of https://api.osv.dev.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import requests

from paddock import paths
from paddock.jsonvalues import MalformedError, field, typed
from paddock.matrix import advisories
from paddock.matrix.load import load_registry

ENDPOINT = "https://api.osv.dev"
BATCH = 500  # packages in one question; OSV takes 1000
TIMEOUT = 60.0  # seconds for one answer
CANARY = ("requests", "2.19.0")  # CVE-2018-18074 and later ones


class NoDataError(Exception):
    """The database says nothing that could be believed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """OSV, or a mirror of it."""

    endpoint: str
    session: requests.Session

    def vulnerabilities(self, packages: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], str]]:
        """Each package with the identifier of each of its vulnerabilities."""
        for start in range(0, len(packages), BATCH):
            asked = packages[start : start + BATCH]
            queries = [_query(name, version) for name, version in asked]
            answer = self._json("POST", "/v1/querybatch", {"queries": queries})
            results = field(typed(answer, dict, "the answer"), "results", list)
            if len(results) != len(asked):
                raise NoDataError(f"found {len(results)} results, expected {len(asked)}")
            for package, result in zip(asked, results, strict=True):
                for entry in typed(result, dict, "results").get("vulns", []):
                    yield package, field(typed(entry, dict, "vulns"), "id", str)

    def names(self, identifier: str) -> set[str]:
        """The identifier and its other names."""
        answer = typed(self._json("GET", f"/v1/vulns/{identifier}", None), dict, identifier)
        return {identifier, *answer.get("aliases", [])}

    def _json(self, method: str, path: str, body: Mapping[str, object] | None) -> object:
        response = self.session.request(method, f"{self.endpoint}{path}", json=body, timeout=TIMEOUT)
        response.raise_for_status()
        return response.json()


def _query(name: str, version: str) -> dict[str, object]:
    return {"package": {"name": name, "ecosystem": "PyPI"}, "version": version.partition("+")[0]}


def unknown(database: Database) -> list[str]:
    """What the database knows and the list does not, one line each."""
    known = advisories.load(paths.templates())
    ids = {identifier for advisory in known.advisories for identifier in advisory.ids}
    held = advisories.contents(paths.templates(), load_registry(paths.templates()).targets.values())
    packages = sorted({package for packages in held.values() for package in packages})
    found = list(database.vulnerabilities([CANARY, *packages]))
    if not any(package == CANARY for package, _ in found):
        raise NoDataError(f"found nothing about {'=='.join(CANARY)}, expected vulnerabilities that are known")
    sys.stderr.write(f"asked for {len(packages)} packages of {len(held)} images\n")
    return [
        f"{name}=={version}: {identifier}"
        for (name, version), identifier in found
        if (name, version) != CANARY and not database.names(identifier) & ids
    ]


def main() -> int:
    """Say what is new; the exit status."""
    endpoint = os.environ.get("OSV_ENDPOINT", ENDPOINT).rstrip("/")
    try:
        with requests.Session() as session:
            new = unknown(Database(endpoint=endpoint, session=session))
    except (requests.RequestException, ValueError, MalformedError, NoDataError) as failure:
        sys.stderr.write(f"error: {endpoint}: nothing was compared ({failure})\n")
        return 5
    sys.stdout.write("".join(f"{line}\n" for line in new))
    if new:
        sys.stderr.write("hint: move the locks to fixed versions, or add them to templates/advisories.yaml\n")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())

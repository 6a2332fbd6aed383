"""`paddock keygen`, `sign`, `verify`, `bundle inspect` and `bundle diff`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock.bundle.format.manifest import Base, Carried, Kind, Manifest, StackName
from paddock.door import run
from samples import bundles
from small_images import as_json, digest

Paddock = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paddock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Paddock:
    """The command line, with a state folder of its own, in an empty folder."""
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        status = run(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def made(name: str, **changes: Any) -> Manifest:
    return bundles.write(Path(name), **changes)


def test_from_a_key_to_a_checked_bundle(paddock: Paddock) -> None:
    manifest = made("bundle")
    status, key_id, err = paddock("keygen", "workshop.key")
    assert (status, len(key_id.strip())) == (0, 16)
    assert "keep it secret" in err
    assert paddock("keygen", "workshop.key")[0] == 7
    assert paddock("sign", "bundle", "--key", "workshop.key", "--sequence", "41")[0] == 0
    assert paddock("trust", "add", "workshop.key.pub")[0] == 0
    assert [path.stem for path in Path("state/keys").iterdir()] == [key_id.strip()]
    status, out, err = paddock("verify", "bundle", "--json")
    assert status == 0, err
    assert json.loads(out)["signed"] == {"key_id": key_id.strip(), "sequence": 41, "checked": True}
    status, out, _ = paddock("bundle", "inspect", "bundle")
    assert (status, manifest.id in out, f"key {key_id.strip()}, sequence 41" in out) == (0, True, True)


def test_signing_again_replaces_the_signature(paddock: Paddock) -> None:
    made("bundle")
    paddock("keygen", "key")
    for sequence in ("1", "2"):
        assert paddock("sign", "bundle", "--key", "key", "--sequence", sequence)[0] == 0
    _, out, _ = paddock("bundle", "inspect", "bundle", "--json")
    assert json.loads(out)["signed"]["sequence"] == 2


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("sign", "bundle", "--key", "key.pub"), 7, "is not a minisign secret key"),
        (("sign", "empty", "--key", "key"), 7, "found no bundle.json"),
        (("sign", "bundle", "--key", "key", "--sequence", "-1"), 2, "--sequence"),
        (("sign", "bundle", "--key", "key", "--sequence", f"{10**17}"), 2, "no site would take the bundle"),
        (("export", "--image", "a:1", "--revoke", "key.pub", "--plan"), 2, "--revoke: found no --sign KEY"),
        (("bundle", "inspect", "empty"), 7, "found no bundle.json"),
        (("bundle", "diff", "bundle", "empty"), 7, "found no bundle.json"),
        (("verify", "missing"), 2, "does not exist"),
        (("verify",), 2, "DIR"),
    ],
)
def test_refused(paddock: Paddock, arguments: tuple[str, ...], status: int, words: str) -> None:
    made("bundle")
    Path("empty").mkdir()
    paddock("keygen", "key")
    found, _, err = paddock(*arguments)
    assert (found, words in err) == (status, True), err


def test_inspect_shows_what_is_carried(paddock: Paddock) -> None:
    manifest = made(
        "bundle",
        stack=StackName(
            name="cpu", target="cpu", backend="vllm", model="paddleocr-vl-1.6", variant="offline"
        ),
    )
    status, out, _ = paddock("bundle", "inspect", "bundle")
    assert status == 0
    for words in ("cpu (vllm, paddleocr-vl-1.6, offline)", "linux/amd64", "paddock/cpu-vlm:0.1.0", "whole"):
        assert words in out
    assert f"{len(manifest.parts)} parts and 3 files" in out
    status, out, _ = paddock("bundle", "inspect", "bundle", "--json")
    told = json.loads(out)
    assert (told.pop("id"), told.pop("signed")) == (manifest.id, None)
    assert told == json.loads(manifest.to_bytes())


def test_inspect_shows_what_a_delta_needs(paddock: Paddock) -> None:
    full = made("full")
    first, *others = full.layers
    made(
        "delta",
        kind=Kind.DELTA,
        layers=(replace(first, carried=Carried.BASE), *others),
        base=Base(layers=(first.diff_id,)),
    )
    status, out, _ = paddock("bundle", "inspect", "delta")
    assert (status, "1 layers at the site" in out) == (0, True)
    assert f"{first.diff_id[7:19]}  base     0 B " in out


def listed(**versions: str) -> bytes:
    return as_json(
        {
            "packages": [
                {"name": "the image itself", "versionInfo": "sha256:0"},
                *(
                    {
                        "name": name,
                        "versionInfo": version,
                        "externalRefs": [{"referenceLocator": f"pkg:pypi/{name}@{version}"}],
                    }
                    for name, version in versions.items()
                ),
            ]
        }
    )


def test_diff_shows_images_software_files_and_layers(paddock: Paddock) -> None:
    made(
        "old",
        files={"sbom/a.spdx.json": listed(torch="2.14.0", vllm="0.32.0"), "stack/a": b"1", "stack/b": b"1"},
    )
    made(
        "new",
        images={"paddock/cpu-api:0.1.0": bundles.LAYERS[:2], "paddock/cpu-vlm:0.1.0": bundles.LAYERS[1:]},
        files={"sbom/a.spdx.json": listed(torch="2.15.0", einops="0.9"), "stack/a": b"2", "stack/b": b"1"},
    )
    status, out, err = paddock("bundle", "diff", "old", "new")
    assert status == 0, err
    rows = [line.split() for line in out.splitlines()]
    assert ["software", "pkg:pypi/torch", "2.14.0", "2.15.0"] in rows
    assert ["software", "pkg:pypi/vllm", "0.32.0", "-"] in rows
    assert ["software", "pkg:pypi/einops", "-", "0.9"] in rows
    assert {row[1] for row in rows if row[0] == "image"} == {"paddock/cpu-vlm:0.1.0"}
    assert {row[1] for row in rows if row[0] == "file"} == {"stack/a", "sbom/a.spdx.json"}
    assert not any(row[0] == "layer" for row in rows)
    made("fewer", images={"paddock/cpu-api:0.1.0": bundles.LAYERS[:2]})
    _, out, _ = paddock("bundle", "diff", "old", "fewer", "--json")
    assert [layer["diff_id"] for layer in json.loads(out)["removed"]] == [digest(bundles.LAYERS[2])]
    assert json.loads(out)["added"] == []


def test_diff_of_the_same(paddock: Paddock) -> None:
    made("old")
    status, out, err = paddock("bundle", "diff", "old", "old")
    assert (status, out, "carry the same" in err) == (0, "", True)


def test_diff_names_a_bad_software_list(paddock: Paddock) -> None:
    made("old", files={"sbom/a.spdx.json": b"[]"})
    status, _, err = paddock("bundle", "diff", "old", "old")
    assert (status, "sbom/a.spdx.json: is not a software list" in err) == (7, True)


def test_an_offline_run_is_refused_where_no_engine_can_be_started(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is read, and never in a weaker way."""
    made("bundle")
    status, _, err = paddock("verify", "bundle", "--base", "bundle")
    assert (status, "--offline-run" in err) == (2, True)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    status, out, err = paddock("verify", "bundle", "--offline-run")
    assert (status, out) == (9, "")
    assert "no dockerd" in err
    assert "hint: run it as root" in err

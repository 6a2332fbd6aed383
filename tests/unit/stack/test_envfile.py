"""Settings that survive a new render of a stack's folder."""

from __future__ import annotations

from pathlib import Path

from paddock.stack.envfile import TUNED, is_tuned, keep_settings

RENDERED = "# The port.\nAPI_PORT=8080\n#COMMENTED=1\nIMAGE_VERSION=2\n"


def test_changed_and_further_settings_are_kept() -> None:
    present = "API_PORT=9090\nIMAGE_VERSION=1\nOWN=a=b\n# a comment\nnot an assignment\n"
    kept = keep_settings(RENDERED, present, but=("IMAGE_VERSION",))
    assert kept == "# The port.\nAPI_PORT=9090\n#COMMENTED=1\nIMAGE_VERSION=2\nOWN=a=b\n"


def test_nothing_to_keep() -> None:
    assert keep_settings(RENDERED, "") == RENDERED


def test_what_is_tuned(tmp_path: Path) -> None:
    for name, text, tuned in (
        ("vlm.yaml", f"{TUNED} for a card\n", True),
        ("vlm.conf", f"{TUNED} for a card\n", True),
        ("vlm.txt", f"{TUNED} for a card\n", False),
        ("pipeline.yaml", "a: b\n", False),
    ):
        (tmp_path / name).write_text(text)
        assert is_tuned(tmp_path / name) is tuned, name
    assert not is_tuned(tmp_path / "absent.yaml")

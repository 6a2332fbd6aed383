"""Settings that survive a new render of a stack's folder, and one that is changed: byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import DataError
from paddock.stack import dotenv
from paddock.stack.envfile import TUNED, is_tuned, keep_settings, quoted, with_setting

PATH = Path("/srv/cpu/.env")
EXAMPLE = b"# Generated.\n\n# The port.\nAPI_BIND=\nAPI_PORT=8080\n#COMMENTED=1\n# Which.\nIMAGE_VERSION=2\n"


def values(data: bytes) -> dict[str, str]:
    return dotenv.values(dotenv.decoded(data), PATH, {})


@pytest.mark.parametrize(
    "port",
    [
        b"API_PORT=9090\n",
        b"export API_PORT=9090\n",
        b"API_PORT = 9090\n",
        b"  API_PORT=9090\n",
        b"API_PORT: 9090\n",
        b"API_PORT='9090' # for operations\n",
        b"#API_PORT=9090\n",
        b"API_PORT=9090\nNOTE='two\nAPI_PORT=1\nlines'\n",
        b"API_PORT=9090\n# set by operations, do not remove\n",
        b"API_PORT=9090\n# Schl\xfcssel\n",
        b"API_PORT=9090\nNAME=caf\xe9\n",
    ],
)
def test_what_has_every_setting_is_not_touched(port: bytes) -> None:
    for present in (
        b"\n \nIMAGE_VERSION=1\n" + port + b"API_BIND=::1",
        b"\xef\xbb\xbf" + port + b"API_BIND=\nIMAGE_VERSION=1\n",
        (b"API_BIND=\n# c\nIMAGE_VERSION=1\n" + port).replace(b"\n", b"\r\n"),
    ):
        assert keep_settings(EXAMPLE, present, PATH) == present


def test_new_settings_come_with_their_comment_behind_the_one_before() -> None:
    kept = keep_settings(EXAMPLE, b"# The port.\nAPI_BIND=::1 # here\nMINE=x", PATH)
    assert kept == (
        b"# The port.\nAPI_BIND=::1 # here\nAPI_PORT=8080\n#COMMENTED=1\n# Which.\nIMAGE_VERSION=2\nMINE=x"
    )
    assert keep_settings(b"A=1\n", b"", PATH) == b"A=1\n"
    assert keep_settings(b"A=1\n", b"B=2", PATH) == b"B=2\nA=1\n"
    assert keep_settings(b"A=1\nB=2\n", b"A=3\r\n", PATH) == b"A=3\r\nB=2\r\n"


def test_a_new_setting_does_not_fall_into_the_quotes_of_another() -> None:
    present = b"A='x' C='two\nlines'\n"
    kept = keep_settings(b"A=1\nB=2\n", present, PATH)
    assert kept == present + b"B=2\n"
    assert values(kept) == {"A": "x", "C": "two\nlines", "B": "2"}


def test_what_belongs_to_the_bundle_is_taken_from_the_example() -> None:
    present = b"export IMAGE_VERSION = '1' # ours\nAPI_PORT=1\nAPI_BIND=\n"
    kept = keep_settings(EXAMPLE, present, PATH, but=("IMAGE_VERSION",))
    assert kept == present.replace(b"'1'", b"2")
    commented = keep_settings(
        EXAMPLE, b"#IMAGE_VERSION=1\nAPI_PORT=1\nAPI_BIND=\n", PATH, but=("IMAGE_VERSION",)
    )
    assert values(commented)["IMAGE_VERSION"] == "2"
    assert keep_settings(b"A=2\n", b"A=0\nA=1\n", PATH, but=("A",)) == b"A=0\nA=2\n"
    assert keep_settings(b"A=2\n", b"A\n", PATH, but=("A",)) == b"A=2\n"


def test_a_file_that_compose_refuses_is_refused() -> None:
    with pytest.raises(DataError, match=r"/srv/cpu/\.env:2:1: "):
        keep_settings(EXAMPLE, b"A=1\n!\n", PATH)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("8g", "8g"),
        ("", ""),
        ("/srv/d$/models", "'/srv/d$/models'"),
        ("a # b", "'a # b'"),
        ('{"a": 1}', "'{\"a\": 1}'"),
        ("it's $5", '"it\'s \\$5"'),
        ("C:\\", '"C:\\0134"'),
    ],
)
def test_how_values_are_written(value: str, written: str) -> None:
    assert quoted(value) == written


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20))
def test_any_value_is_read_back(value: str) -> None:
    data = with_setting(b"# c\nA = 1 # one\nB=2", "A", value, PATH)
    assert values(data) == {"A": value, "B": "2"}
    assert values(with_setting(b"# c\nB=2", "A", value, PATH)) == {"A": value, "B": "2"}


def test_only_the_value_changes() -> None:
    data = b"\xef\xbb\xbf# Schl\xfcssel\r\nexport A = '1' # one\r\nB=$A\r\n"
    assert with_setting(data, "A", "2", PATH) == data.replace(b"'1'", b"2")
    assert with_setting(data, "C", "3", PATH) == data + b"C=3\r\n"


@pytest.mark.parametrize("line", [b"A='1'#c\n", b'A="1" B=2\n', b"A='1'\t# c\n", b"A=1 # c\n", b"A=\t#c\n"])
@pytest.mark.parametrize("value", ["", "2", "a b"])
def test_what_stands_behind_a_value_stays_apart(line: bytes, value: str) -> None:
    changed = with_setting(line, "A", value, PATH)
    assert values(changed) == {**values(line), "A": value}


def test_what_is_tuned(tmp_path: Path) -> None:
    for name, text, tuned in (
        ("vlm.yaml", f"{TUNED} for a card\n", True),
        ("vlm.conf", f"{TUNED} for a card\n", True),
        ("vlm.txt", f"{TUNED} for a card\n", False),
        ("pipeline.yaml", "a: b\n", False),
    ):
        (tmp_path / name).write_text(text)
        assert is_tuned(tmp_path / name) is tuned, name
    (tmp_path / "latin.yaml").write_bytes(b"# Schl\xfcssel\n")
    assert not is_tuned(tmp_path / "latin.yaml")
    assert not is_tuned(tmp_path / "absent.yaml")

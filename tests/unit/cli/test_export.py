"""`paddock export` as it is typed: what is refused before anything is asked or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.bundle.export.writing import PART_SIZE
from paddock.cli.export import export, read_size
from paddock.errors import BundleError, PaddockError, UsageError


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("3900M", 3900 << 20),
        ("4g", 4 << 30),
        ("100MB", 100_000_000),
        ("1GB", 10**9),
        ("2048K", 2 << 20),
        ("5000000", 5_000_000),
    ],
)
def test_sizes(said: str, size: int) -> None:
    assert read_size(said) == size


@pytest.mark.parametrize("said", ["", "M", "3.9G", "-1M", "10 XB", "10B", "1000K", "0"])
def test_no_sizes(said: str) -> None:
    with pytest.raises(UsageError, match="--part-size: found"):
        read_size(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image=a:1"], "no --output DIR"),
        (["--offline", "--output=x"], "without a target"),
        (["--image=a:1", "--output=x", "--part-size=1"], "--part-size"),
        (["no-such-target", "--output=x"], "no-such-target"),
    ],
)
def test_what_cannot_be_asked_for(arguments: list[str], said: str) -> None:
    with pytest.raises(PaddockError, match=said) as refused:
        export.main(arguments, standalone_mode=False)
    assert refused.value.exit_code in {2, 3}


def test_a_key_is_read_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"no key\n")
    with pytest.raises(BundleError, match="is not a minisign secret key"):
        export.main(
            ["--image=a:1", f"--output={tmp_path}/out", f"--sign={tmp_path}/key"], standalone_mode=False
        )
    assert not (tmp_path / "out").exists()


def test_the_default_size_of_a_part_is_that_of_the_operation() -> None:
    """It is spelt out in the command, which loads the operation only when it runs."""
    (option,) = [parameter for parameter in export.params if parameter.name == "part_size"]
    assert read_size(str(option.default)) == PART_SIZE

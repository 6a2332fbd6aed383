"""Names of results: told apart, and tried on the disk that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.parse.names import alike, distinct, taken, takes


def apart(*paths: str) -> list[str]:
    files = [Path(path) for path in paths]
    return [name.as_posix() for name in distinct(files, [Path(file.name) for file in files])]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/x/a", "/y/b"], ["a", "b"]),
        (["/x/a", "/y/a"], ["x/a", "y/a"]),
        (["/x/a", "/y/A"], ["x/a", "y/A"]),
        (["/x/\u00e9", "/y/e\u0301"], ["x/\u00e9", "y/e\u0301"]),  # one letter in two forms
        (["/x/a", "/x/A"], ["a", "A"]),  # no folder in front tells these apart
        (["/x/a", "/x/A", "/y/a"], ["x/a", "A", "y/a"]),
        (["/X/a", "/x/a"], ["X/a", "x/a"]),
        (["/x/A", "/x/a/b"], ["A", "b"]),
    ],
)
def test_names_get_as_much_in_front_as_tells_them_apart(paths: list[str], names: list[str]) -> None:
    assert apart(*paths) == names


def test_a_name_inside_of_another_that_nothing_tells_apart() -> None:
    files = [Path("/in/X"), Path("/in/x/p")]
    assert distinct(files, [Path("X"), Path("x/p")]) == [Path("in/X"), Path("in/x/p")]


def test_this_disk_is_asked(tmp_path: Path) -> None:
    """Whatever it says here: the second of two names is refused exactly where the disk has it already."""
    names = [Path("a/x.pdf"), Path("b.pdf"), Path("A/X.pdf"), Path("A/X.pdf/pages")]
    (tmp_path / "probe").touch()
    careless = (tmp_path / "PROBE").exists()
    assert taken(names, tmp_path) == ({2, 3} if careless else {3})
    assert [path.name for path in tmp_path.iterdir()] == ["probe"]


def test_a_disk_that_knows_no_case(tmp_path: Path) -> None:
    there: set[str] = set()

    def takes_without_case(path: Path) -> bool:
        name = path.relative_to(next(tmp_path.iterdir())).as_posix().casefold()
        free = name not in there
        there.add(name)
        return free

    names = [Path("Scan.pdf"), Path("other.pdf"), Path("scan.pdf"), Path("SCAN.PDF")]
    assert taken(names, tmp_path, takes=takes_without_case) == {2, 3}
    assert there == {"scan.pdf"}  # the other could not be mistaken for anything


def test_nothing_is_written_where_no_names_are_alike(tmp_path: Path) -> None:
    assert taken([Path("a"), Path("b/c")], tmp_path / "not there") == set()


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    assert takes(tmp_path / "a/b")
    assert not takes(tmp_path / "a/b")
    assert not takes(tmp_path / "a/b/c")
    assert not takes(tmp_path / "a")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("a.pdf", "A.PDF", True), ("a.pdf", "a.pdf.", True), ("\u00e9", "e\u0301", True), ("a", "b", False)],
)
def test_names_that_some_disks_take_for_one(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is same

"""What the commands of a site load: no templates, no renderer, and for help nothing heavy at all.

Each case runs in a process of its own, since a module that another test has loaded stays loaded.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from programs import run

# Reading the templates and rendering them: for the name of a target only.
WORKSHOP = (
    "jinja2",
    "paddock.render",
    "paddock.matrix.registry",
    "paddock.matrix.load",
    "paddock.matrix.strictyaml",
    "paddock.matrix.yamltree",
)
HEAVY = ("docker", "requests", "yaml", "cryptography", *WORKSHOP)

PROGRAM = """
import json, sys
from paddock.door import run
try:
    status = run(sys.argv[2:])
finally:
    with open(sys.argv[1], "w", encoding="utf-8") as written:
        json.dump(sorted(sys.modules), written)
sys.exit(status)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """One run of `paddock`: its exit status, what it said, and every module that it loaded."""

    status: int
    stdout: str
    stderr: str
    modules: frozenset[str]

    def loaded(self, names: tuple[str, ...]) -> list[str]:
        """Those of the modules `names` that it loaded, with what lies in them."""
        return sorted(
            module
            for module in self.modules
            for name in names
            if module == name or module.startswith(f"{name}.")
        )


def start(folder: Path, *arguments: str, **environment: str) -> Started:
    """Run `paddock` where there is neither Docker nor anything else on PATH."""
    written = folder / "modules.json"
    surroundings = {"PATH": str(folder), "PADDOCK_STATE": str(folder / "state"), **environment}
    done = run(
        sys.executable, "-c", PROGRAM, written, *arguments, environment=surroundings, cwd=folder, limit=120
    )
    assert written.is_file(), done.stderr
    return Started(
        status=done.returncode,
        stdout=done.stdout,
        stderr=done.stderr,
        modules=frozenset(json.loads(written.read_text("utf-8"))),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stack and with a folder that holds no bundle."""
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack/compose.yaml").write_text("services: {}\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


SITE = [
    "import",
    "verify",
    "trust",
    "receipt",
    "rollback",
    "up",
    "down",
    "status",
    "config",
    "logs",
    "parse",
    "smoke",
]


@pytest.mark.parametrize("arguments", [[], *([command] for command in SITE)], ids=" ".join)
def test_help_needs_nothing_but_the_command_line(folder: Path, arguments: list[str]) -> None:
    started = start(folder, *arguments, "--help")
    assert started.status == 0
    assert started.stdout.startswith("Usage: paddock")
    assert started.loaded(HEAVY) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("import /nowhere", 7, "/nowhere"),
        ("verify empty", 7, "found no bundle.json"),
        ("trust list", 0, "no key is pinned here"),
        ("receipt", 5, "Docker Engine"),
        ("rollback", 7, "found no import to go back from"),
        ("up ./stack", 5, "Docker Engine"),
        ("down ./stack", 5, "Docker Compose"),
        ("status", 5, "Docker Engine"),
        ("status ./stack", 5, "Docker Engine"),
        ("logs ./stack", 5, "Docker Compose"),
        ("config list ./stack", 0, ""),
        ("parse absent.pdf -o out --url http://127.0.0.1:9", 2, "absent.pdf"),
        ("smoke ./stack", 5, "Docker Compose"),
        ("smoke http://127.0.0.1:9", 8, "127.0.0.1:9"),
        ("up ./empty", 2, "found no compose.yaml there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_site_needs_no_templates(folder: Path, arguments: str, status: int, words: str) -> None:
    started = start(folder, *arguments.split())
    assert (started.status, words in started.stderr) == (status, True), started.stderr
    assert started.loaded(WORKSHOP) == []


def test_the_name_of_a_target_is_looked_up(folder: Path) -> None:
    """The counter-proof: these modules are what the lists above say."""
    started = start(folder, "up", "no-such-target")
    assert (started.status, 'unknown target "no-such-target"' in started.stderr) == (2, True)
    assert set(started.loaded(WORKSHOP)) >= set(WORKSHOP)


@pytest.mark.parametrize(
    ("words", "unwanted", "completion"),
    [
        ("paddock im", HEAVY, "import"),
        ("paddock up --off", HEAVY, "--offline"),
        ("paddock up ./st", HEAVY, "stack"),
        ("paddock up cu12", ("jinja2", "paddock.render"), "cu126"),
    ],
)
def test_completion_loads_what_it_completes(
    folder: Path, words: str, unwanted: tuple[str, ...], completion: str
) -> None:
    started = start(
        folder,
        _PADDOCK_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert completion in started.stdout
    assert started.loaded(unwanted) == []

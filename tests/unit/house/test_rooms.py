"""The house: rooms with floors, imports that point down, modules of a size to read, each with its test."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository import REPOSITORY

PACKAGE = REPOSITORY / "tool" / "paddock"
MODULES = sorted(PACKAGE.rglob("*.py"))
UNIT_TESTS = REPOSITORY / "tests" / "unit"

# How high each room stands: a module imports from its own floor or from below.
FLOORS = {
    **dict.fromkeys(("errors", "report", "jsonvalues"), 0),
    **dict.fromkeys(("matrix", "process", "paths", "durable", "parse"), 1),
    **dict.fromkeys(("engine", "weights", "apikeys"), 2),
    **dict.fromkeys(("stack", "ownweights"), 3),
    **dict.fromkeys(("smoke", "render"), 4),
    **dict.fromkeys(("building", "tuning", "bundle"), 5),
    "console": 6,
    "cli": 7,
    "door": 8,
    "__main__": 9,
}
FLOORS_OF_BUNDLE = {
    "format": 0,
    **dict.fromkeys(("layers", "check"), 1),
    **dict.fromkeys(("delta", "imagestore"), 2),
    **dict.fromkeys(("export", "site"), 3),
    "trial": 4,
}
TERMINAL = {"console", "cli", "door", "__main__"}
LARGEST_MODULE = 530  # lines

# What runs at a site, where there are no templates, and what reads and renders them at the workshop.
SITE = (
    "stack",
    "parse",
    "apikeys",
    "smoke",
    "weights",
    "bundle.format",
    "bundle.check",
    "bundle.site",
    "bundle.imagestore",
)
WORKSHOP = ("render", "matrix.registry", "matrix.load", "matrix.strictyaml", "matrix.yamltree")

# Modules of more than SMALL lines without a test file of their name, and the test that covers each instead.
SMALL = 60
TESTED_ELSEWHERE = {
    "bundle.export.sbom": "unit/bundle/export/test_writing.py",
    "bundle.imagestore.layers": "integration/bundles/test_engine_layers.py",
    "bundle.site.content": "unit/bundle/site/test_importing.py",
    "bundle.site.incoming": "unit/bundle/site/test_importing.py",
    "bundle.site.proof": "unit/bundle/site/test_importing.py",
    "bundle.site.rollback": "unit/bundle/site/test_importing.py",
    "bundle.trial.run": "integration/bundles/test_offline_run.py",
    "matrix.load": "unit/matrix/test_registry.py",
    "matrix.references": "unit/matrix/test_registry.py",  # and the folders of tests/cases/registry
    # What they make is read by programs that are not ours, so it is tested as files.
    "ownweights.embedded.copier": "generated/test_embedded.py",
    "ownweights.embedded.layout": "generated/test_test_weights.py",
    "ownweights.embedded.vlm": "generated/test_embedded.py",
    "ownweights.gguf": "generated/test_test_weights.py",
    "ownweights.hub": "generated/test_test_weights.py",
    "ownweights.layoutfiles": "generated/test_test_weights.py",
    "ownweights.making": "generated/test_test_weights.py",
    "ownweights.testweights.layout": "generated/test_test_weights.py",
    "ownweights.testweights.sets": "generated/test_test_weights.py",
    "ownweights.testweights.vlm": "generated/test_test_weights.py",
    "ownweights.tokenizer": "generated/test_embedded.py",
    "smoke.documents": "unit/smoke/test_check.py",
    "smoke.vlm_questions": "integration/test_smoke.py",  # it runs in the image of the pipeline API
    "weights.partfile": "unit/weights/test_download.py",
    "weights.published": "unit/weights/test_download.py",
}

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def dotted(path: Path) -> str:
    """`tool/paddock/cli/parse.py` is `cli.parse`; the package itself is the empty string."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all modules that the file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write the whole name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def internal_imports(path: Path) -> set[str]:
    """Modules of this package that the file imports, dotted from the package."""
    known = {dotted(module) for module in MODULES} - {""}
    return {name.removeprefix("paddock.") for name in imports(path)} & known


def room(module: str) -> str:
    """The part of the package that a module belongs to: the first part of its name."""
    return module.partition(".")[0]


def floor(module: str) -> tuple[int, int]:
    """How high a module stands: its room among the rooms, then its place in the bundle's."""
    top, _, below = module.partition(".")
    assert top in FLOORS, f"{module}: give the room a floor in FLOORS"
    if top == "bundle" and below:
        assert room(below) in FLOORS_OF_BUNDLE, f"{module}: give the room a floor in FLOORS_OF_BUNDLE"
        return FLOORS[top], FLOORS_OF_BUNDLE[room(below)]
    return FLOORS[top], 0


def is_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in rooms)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_down(path: Path) -> None:
    module = dotted(path)
    if module:
        upward = {name for name in internal_imports(path) if floor(name) > floor(module)}
        assert not upward, f"{module} imports {upward}, which stands above it"


def test_export_and_site_do_not_import_each_other() -> None:
    for one, other in (("bundle.export", "bundle.site"), ("bundle.site", "bundle.export")):
        for path in (path for path in MODULES if is_in(dotted(path), (one,))):
            assert not {name for name in internal_imports(path) if is_in(name, (other,))}, dotted(path)


@pytest.mark.parametrize("path", [path for path in MODULES if is_in(dotted(path), SITE)], ids=dotted)
def test_the_half_of_a_site_needs_no_templates(path: Path) -> None:
    assert not {name for name in internal_imports(path) if is_in(name, WORKSHOP)}
    assert "jinja2" not in {name.partition(".")[0] for name in imports(path)}


def test_no_import_cycle() -> None:
    graph = {dotted(path): internal_imports(path) - {dotted(path)} for path in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError and names the cycle


def test_the_rooms_stay_few_and_loosely_coupled() -> None:
    """One more of each is a decision, not an accident: change the number with the reason in the commit."""
    graph: dict[str, set[str]] = {}
    for module, path in ((dotted(path), path) for path in MODULES if dotted(path)):
        imported = {room(name) for name in internal_imports(path)}
        graph.setdefault(room(module), set()).update(imported - {room(module)})
    assert len(graph) <= 26
    assert sum(len(imported) for imported in graph.values()) <= 97
    assert _longest_chain(graph) <= 9


def _longest_chain(graph: dict[str, set[str]]) -> int:
    """The number of rooms that stand one above the other."""
    height: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        height[name] = 1 + max((height[below] for below in graph.get(name, ())), default=0)
    return max(height.values())


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_is_too_large_to_read(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LARGEST_MODULE


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_only_the_terminal_knows_click_and_only_process_starts_programs(path: Path) -> None:
    top = room(dotted(path))
    roots = {name.partition(".")[0] for name in imports(path)}
    assert "click" not in roots or top in TERMINAL, "click belongs in console and cli"
    assert "subprocess" not in roots or top == "process", "programs are started by process.py"


def test_there_are_modules_to_check() -> None:
    assert {"errors", "process", "console", "cli"} <= {dotted(path) for path in MODULES}


def test_modules_are_named_for_what_they_do() -> None:
    vague = [path for path in MODULES if set(path.relative_to(PACKAGE).with_suffix("").parts) & VAGUE_NAMES]
    assert not vague


# --- tests --------------------------------------------------------------------------------------------------


def own_test(path: Path) -> Path:
    """Where the unit test of a module is: the same folders, `test_` before its name."""
    place = path.relative_to(PACKAGE)
    if place.name == "__main__.py":
        return UNIT_TESTS / "test_main.py"
    return UNIT_TESTS / place.parent / f"test_{place.name}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=dotted)
def test_every_module_has_a_test_of_its_name_or_says_where_it_is_tested(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    if lines > SMALL and dotted(path) not in TESTED_ELSEWHERE:
        assert own_test(path).is_file(), "write it, or name the test that covers it in TESTED_ELSEWHERE"


@pytest.mark.parametrize(("module", "test"), TESTED_ELSEWHERE.items(), ids=TESTED_ELSEWHERE)
def test_the_list_of_modules_tested_elsewhere_is_true(module: str, test: str) -> None:
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    assert path.is_file(), "there is no such module: take it off the list"
    assert not own_test(path).exists(), "it has a test of its own: take it off the list"
    assert (UNIT_TESTS.parent / test).is_file(), "there is no such test"


# --- tests --------------------------------------------------------------------------------------------------

TEST_FILES = sorted((REPOSITORY / "tests").rglob("*.py"))


def private_names(path: Path) -> Iterator[str]:
    """Names of the package with a leading underscore that a test imports, reads or patches."""
    tree = ast.parse(path.read_text("utf-8"))
    from_package = [
        alias
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "paddock"
        for alias in node.names
    ]
    yield from (alias.name for alias in from_package if is_private(alias.name))
    imported = {alias.asname or alias.name for alias in from_package}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                pass
            case ast.Call(args=[ast.Name(id=name), ast.Constant(value=str(attribute)), *_]):
                pass
            case _:
                continue
        if name in imported and is_private(attribute):
            yield f"{name}.{attribute}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_tests_reach_for_no_private_name(path: Path) -> None:
    assert list(private_names(path)) == []


def test_a_private_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from paddock import engine\nfrom paddock.parse.batch import _Queue\nengine._ask()\n"
        "patch.setattr(engine, '_TIMEOUT', 1)\nengine.__name__\n"
    )
    assert sorted(private_names(tmp_path / "test_it.py")) == ["_Queue", "engine._TIMEOUT", "engine._ask"]

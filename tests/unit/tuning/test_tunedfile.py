"""The file with tuned values: what stands in it, and that it is the rendered one but for them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from paddock.errors import ConfigurationError
from paddock.paths import templates
from paddock.render.renderer import Renderer
from paddock.stack.envfile import TUNED
from paddock.tuning import tunedfile
from paddock.tuning.sizing import Tuning, Wish, tune
from tunings import CARDS, REGISTRY, every, values

TUNINGS = every()


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_the_file_holds_the_values_and_an_origin_above_each(tuning: Tuning) -> None:
    lines = tunedfile.text(templates(), tuning, command="paddock tune x").splitlines()
    expected = {**tuning.stack.vlm.settings, **values(tuning)}
    separator = ": " if tuning.stack.backend.configuration.endswith(".yaml") else " "
    found: dict[str, str] = {}
    for above, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert above.startswith("# "), line
            name, _, written = line.partition(separator)
            found[name] = written
    assert set(expected) < set(found)
    for name, value in values(tuning).items():
        assert found[name] == str(value)


def test_the_file_says_where_the_memory_goes() -> None:
    text = tunedfile.text(
        templates(),
        tune(REGISTRY.stack(target="cu126"), CARDS["nvidia-8gb"], Wish()),
        command="paddock tune x",
    )
    assert "# 8 GiB: layout model 3.0, reserve" in text


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_the_file_says_what_the_rendered_one_says_but_for_the_tuned_values(tuning: Tuning) -> None:
    name = tuning.stack.backend.configuration
    if not name.endswith(".yaml"):
        return
    files = Renderer(templates()).stack(tuning.stack)
    rendered = next(text for path, text in files.items() if path.name == name)
    tuned = yaml.safe_load(tunedfile.text(templates(), tuning, command="paddock tune x"))
    assert tuned == {**yaml.safe_load(rendered), **values(tuning)}


def test_no_committed_file_is_a_tuned_one(repository: Path) -> None:
    checked = [path for path in (repository / "compose").rglob("vlm.*") if path.is_file()]
    assert len(checked) >= 4
    assert not [path for path in checked if path.read_text().startswith(TUNED)]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    tuning = TUNINGS["cu126-nvidia-12gb"]
    with pytest.raises(ConfigurationError, match=r"absent/vlm\.yaml: cannot be written"):
        tunedfile.write(tmp_path / "absent", tuning, "text\n")
    path = tunedfile.write(tmp_path, tuning, "text\n")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "text\n"

"""Compose itself reads the `.env` files of tests/support/dotenv_forms.py, and generated ones, as we do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dotenv_forms import ENVIRONMENT, FORMS, UNSET, value_of
from programs import Finished, run, succeeded

pytestmark = pytest.mark.needs("docker")


def in_compose(forms: Sequence[bytes], folder: Path) -> Mapping[bytes, str]:
    """The value of A in each of these files as Compose reads them, all of them in one run.

    Each is the `.env` of a Compose file of its own, and one file includes them all.
    """
    included = []
    for number, form in enumerate(forms):
        part = folder / str(number)
        part.mkdir()
        (part / ".env").write_bytes(form)
        service = f'services: {{s{number}: {{image: x, environment: {{A: "${{A-{UNSET}}}"}}}}}}\n'
        (part / "compose.yaml").write_text(service)
        included.append({"path": f"{number}/compose.yaml", "env_file": f"{number}/.env"})
    (folder / "compose.yaml").write_text(json.dumps({"name": "forms", "include": included}))
    services = json.loads(succeeded(compose(folder)))["services"]
    values = (services[f"s{number}"]["environment"]["A"] for number in range(len(forms)))
    return dict(zip(forms, (value.replace("$$", "$") for value in values), strict=True))


def compose(folder: Path) -> Finished:
    """`docker compose config` of a folder, with nothing of this process's environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **ENVIRONMENT}
    argv = ("docker", "compose", "config", "--format", "json")
    return run(*argv, cwd=folder, environment=environment, inherit=False)


def test_compose_reads_the_same_values(tmp_path: Path) -> None:
    read = {form: value for form, value in FORMS if value is not None}
    assert len(read) > 60
    assert in_compose(list(read), tmp_path) == read


def test_compose_refuses_the_same_files(tmp_path: Path) -> None:
    refused = [form for form, value in FORMS if value is None]
    (tmp_path / "compose.yaml").write_text("name: forms\nservices: {s: {image: x}}\n")
    for form in refused:
        (tmp_path / ".env").write_bytes(form)
        assert compose(tmp_path).returncode != 0, form


VALUES = st.text(st.sampled_from("aB \t#'\"$\\{}:-=,;é"), max_size=8)
SPACES = st.sampled_from(["", " ", "  ", "\t"])
FORM = st.builds(
    "{}{}A{}{}{}{}{}{}{}".format,
    st.sampled_from(["", "B=1\n", "# c\n", "\ufeff", "\n"]),
    st.sampled_from(["", " ", "export ", "export\t "]),
    SPACES,
    st.sampled_from(["=", ":", "="]),
    SPACES,
    st.sampled_from(["", "'", '"']),
    VALUES,
    st.sampled_from(["", "'", '"']),
    st.sampled_from(["\n", "\r\n", " # c\n", "#c\n", " \n"]),
)


@settings(max_examples=3, phases=[Phase.generate])  # a run of Compose is too slow to look for less
@given(st.lists(FORM, min_size=50, max_size=60, unique=True))
def test_compose_reads_generated_forms_alike(
    tmp_path_factory: pytest.TempPathFactory, forms: list[str]
) -> None:
    ours = {form.encode(): value_of(form.encode()) for form in forms}
    read = {form: value for form, value in ours.items() if value is not None}
    assert in_compose(list(read), tmp_path_factory.mktemp("forms")) == read

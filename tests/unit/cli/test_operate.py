"""What `paddock status` prints for programs."""

from __future__ import annotations

import json

from click.testing import CliRunner

from fake_engine import FakeEngine, inspected
from paddock.cli.operate import status


def test_the_fields_of_a_stack(fake_engine: FakeEngine) -> None:
    fake_engine.containers = [inspected()]
    done = CliRunner().invoke(status, ["--json"])
    assert done.exit_code == 0, done.output
    (stack,) = json.loads(done.stdout)["stacks"]
    assert set(stack) == {
        "project",
        "folder",
        "url",
        "ready",
        "reason",
        "model",
        "test_weights",
        "notice",
        "services",
    }


def test_memory_that_ran_out_is_said_with_the_setting(fake_engine: FakeEngine) -> None:
    container = inspected(RestartCount=1)
    fake_engine.containers = [container]
    fake_engine.events = [{"Type": "container", "Action": "oom", "Actor": {"ID": container["Id"]}}]
    done = CliRunner().invoke(status)
    assert "memory ran out; its limit is 8g: `paddock config set /srv/cpu VLM_MEMORY=12g`" in done.stdout

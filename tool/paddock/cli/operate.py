"""`paddock status` and `paddock logs`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.stackoptions import StackChoice, stack_options
from paddock.errors import EngineError, UnhealthyError, UsageError

if TYPE_CHECKING:
    from paddock.stack.status import ServiceStatus, StackStatus

_HEADINGS = ("SERVICE", "STATE", "HEALTH", "UP", "RESTARTS", "MEMORY", "PORTS", "IMAGE", "PACKAGES")
_LABELS = ("version", "revision", "target", "backend", "model", "variant")


@click.command("status")
@stack_options("target_or_dir", "[TARGET_OR_DIR]", required=False, project=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, choice: StackChoice, as_json: bool) -> None:
    """Show state, health, ports, model, versions and memory of a stack.

    TARGET_OR_DIR is a target such as cpu, or the folder of a stack; without it, every stack of paddock's on
    this engine is shown.

    Exit status: 0 all that is shown can parse; 5 no engine; 8 something cannot, or nothing is started.
    """
    if choice.target is None and choice.has_options:
        raise UsageError("--backend, --model, --offline: found no TARGET that they belong to")

    from paddock import engine
    from paddock.stack.status import status_of, status_of_all

    with closing(engine.connect()) as client:
        if choice.target is None:
            stacks: Sequence[StackStatus] = status_of_all(client, project=choice.project)
        else:
            folder = choice.folder()
            stacks = [status_of(client, folder.read(), folder=str(folder.path))]
    _show(stacks, as_json=as_json)
    _refuse_unready(stacks)


@click.command("logs")
@stack_options("target_or_dir", "TARGET_OR_DIR", project=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--tail", metavar="N", help="Only the last N lines of each service.")
@click.option("--since", metavar="TIME", help="Only lines since then: a time, or a duration such as 10m.")
def logs(
    *,
    choice: StackChoice,
    services: tuple[str, ...],
    follow: bool,
    tail: str | None,
    since: str | None,
) -> None:
    """Show what the containers of a stack print.

    TARGET_OR_DIR is a target such as cpu, or the folder of a stack; SERVICE is api or vlm.
    """
    if tail is not None and not re.fullmatch(r"\d+|all", tail):
        raise UsageError(f'--tail: found "{tail}", expected a number or all')

    from paddock import engine
    from paddock.stack import containers, entrance
    from paddock.stack import logs as container_logs

    folder = choice.folder()
    with (
        suppress(EngineError),
        closing(engine.connect()) as client,
    ):  # without one, Compose says what is wrong
        folder = entrance.as_started(folder, containers.of_project(client, folder.read().project))
    container_logs.follow(folder, services, on_line=console.result, follow=follow, tail=tail, since=since)


def _show(stacks: Sequence[StackStatus], *, as_json: bool) -> None:
    if as_json:
        console.result_json({"stacks": [_stack_record(stack) for stack in stacks]})
        return
    for number, stack in enumerate(stacks):
        if number:
            console.result("")
        console.result(_headline(stack))
        if stack.reason:
            console.result(f"  reason: {stack.reason}")
        for service in stack.services:
            if service.health_message:
                console.result(f"  {service.service}: {service.health_message}")
            if service.oom_killed:
                console.result(f"  {service.service}: {_out_of_memory(stack, service)}")
        console.table(_HEADINGS, [_row(service) for service in stack.services])


def _out_of_memory(stack: StackStatus, service: ServiceStatus) -> str:
    """That memory ran out, and how to give the container more where it has a limit."""
    from paddock.errors import quoted
    from paddock.stack.diagnosis import memory, more_memory

    said = "the kernel ended a process of it, now or before a restart, because memory ran out"
    if not service.memory_limit:
        return said
    more = more_memory(service.service, service.memory_limit)
    limit = memory(service.memory_limit)
    return f"{said}; its limit is {limit}: `paddock config set {quoted(stack.folder)} {more}` raises it"


def _headline(stack: StackStatus) -> str:
    facts = [
        f"{stack.project}: {'ready' if stack.ready else 'not ready'}",
        stack.url or "no port",
        f"model {stack.model}" if stack.model else "",
        "test weights" if stack.test_weights else "",
        stack.notice,
    ]
    return " · ".join(fact for fact in facts if fact)


def _refuse_unready(stacks: Sequence[StackStatus]) -> None:
    from paddock.process import command_line
    from paddock.stack.status import ABSENT

    if not stacks:
        raise UnhealthyError("no stack of paddock's is started here", hint="`paddock up cpu` starts one")
    unready = [stack for stack in stacks if not stack.ready]
    if not unready:
        return
    first = unready[0]
    folder = command_line([str(first.folder)])
    if all(service.state == ABSENT for service in first.services):
        hint = f"`paddock up {folder}` starts it"
    else:
        hint = f"`paddock logs {folder}` shows what its containers print"
    raise UnhealthyError(
        "; ".join(f"{stack.project}: not ready: {stack.reason}" for stack in unready), hint=hint
    )


def _row(service: ServiceStatus) -> list[str]:
    state = service.state
    if service.oom_killed:
        state += " (out of memory)"
    elif state in ("exited", "restarting"):
        state += f" ({service.exit_code})"
    return [
        service.service,
        state,
        service.health or "-",
        console.duration(service.uptime),
        f"{service.restarts} ({service.recyclings} recycled)"
        if service.recyclings
        else str(service.restarts),
        _memory(service),
        ", ".join(service.ports) or "-",
        service.image or "-",
        ", ".join(f"{name} {version}" for name, version in service.packages.items()) or "-",
    ]


def _memory(service: ServiceStatus) -> str:
    if service.memory is None:
        return "-"
    limit = f" of {_gigabytes(service.memory_limit)}" if service.memory_limit else ""
    return f"{_gigabytes(service.memory)}{limit}"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f}g"  # as the limits in .env are written


def _stack_record(stack: StackStatus) -> dict[str, object]:
    return asdict(stack) | {
        "model": stack.model or None,
        "notice": stack.notice or None,
        "services": [_service_record(service) for service in stack.services],
    }


def _service_record(service: ServiceStatus) -> dict[str, object]:
    return {
        "service": service.service,
        "container": service.container or None,
        "state": service.state,
        "health": service.health or None,
        "health_message": service.health_message,
        "exit_code": service.exit_code,
        "restarts": service.restarts,
        "recyclings": service.recyclings,
        "oom_killed": service.oom_killed,
        "uptime_seconds": round(service.uptime) if service.uptime is not None else None,
        "ports": list(service.ports),
        "memory_bytes": service.memory,
        "memory_limit_bytes": service.memory_limit,
        "image": service.image or None,
        **{name: service.labels.get(name) or None for name in _LABELS},
        "packages": dict(service.packages),
    }

"""`paddock status` and `paddock logs`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing

import click

from paddock import console, engine, process
from paddock.cli.stackoptions import choices, complete_target, named_by, stack_options
from paddock.errors import UnhealthyError, UsageError
from paddock.stack import logs as container_logs
from paddock.stack.status import ABSENT, ServiceStatus, StackStatus, status_of, status_of_all

_HEADINGS = ("SERVICE", "STATE", "HEALTH", "UP", "RESTARTS", "MEMORY", "PORTS", "IMAGE", "PACKAGES")


@click.command("status")
@click.argument("target_or_dir", metavar="[TARGET_OR_DIR]", required=False, shell_complete=complete_target)
@choices
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(
    *,
    target_or_dir: str | None,
    backend: str | None,
    model: str | None,
    offline: bool,
    project: str | None,
    as_json: bool,
) -> None:
    """Show state, health, ports, model, versions and memory of a stack.

    TARGET_OR_DIR is a target such as cpu, or the folder of a stack; without it, every stack of paddock's on
    this engine is shown.

    Exit status: 0 all that is shown can parse; 5 no engine; 8 something cannot, or nothing is started.
    """
    if target_or_dir is None and (backend or model or offline):
        raise UsageError("--backend, --model, --offline: found no TARGET that they belong to")
    with closing(engine.connect()) as client:
        if target_or_dir is None:
            found: Sequence[StackStatus] = status_of_all(client, project=project)
        else:
            folder = named_by(target_or_dir, backend, model, offline, project)
            found = [status_of(client, folder.read(), folder=str(folder.path))]
    _show(found, as_json=as_json)
    _refuse_unready(found)


@click.command("logs")
@stack_options
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--tail", metavar="N", help="Only the last N lines of each service.")
@click.option("--since", metavar="TIME", help="Only lines since then: a time, or a duration such as 10m.")
def logs(
    *,
    target_or_dir: str,
    backend: str | None,
    model: str | None,
    offline: bool,
    project: str | None,
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
    folder = named_by(target_or_dir, backend, model, offline, project)
    container_logs.follow(folder, services, on_line=console.result, follow=follow, tail=tail, since=since)


def _show(found: Sequence[StackStatus], *, as_json: bool) -> None:
    if as_json:
        console.result_json({"stacks": [_machine(each) for each in found]})
        return
    for number, each in enumerate(found):
        if number:
            console.result("")
        model = f" · model {each.model}" if each.model else ""
        model += " · test weights" if each.test_weights else ""
        model += f" · {each.notice}" if each.notice else ""
        console.result(
            f"{each.project}: {'ready' if each.ready else 'not ready'} · {each.url or 'no port'}{model}"
        )
        if each.reason:
            console.result(f"  reason: {each.reason}")
        for service in each.services:
            if service.health_message:
                console.result(f"  {service.service}: {service.health_message}")
        console.table(_HEADINGS, [_row(service) for service in each.services])


def _refuse_unready(found: Sequence[StackStatus]) -> None:
    if not found:
        raise UnhealthyError("no stack of paddock's is started here", hint="`paddock up cpu` starts one")
    unready = [each for each in found if not each.ready]
    if unready:
        first = unready[0]
        absent = all(service.state == ABSENT for service in first.services)
        folder = process.command_line([str(first.folder)])
        raise UnhealthyError(
            "; ".join(f"{each.project}: not ready: {each.reason}" for each in unready),
            hint=f"`paddock up {folder}` starts it"
            if absent
            else f"`paddock logs {folder}` shows what its containers print",
        )


def _row(each: ServiceStatus) -> list[str]:
    state = each.state
    if each.oom_killed:
        state += " (out of memory)"
    elif each.state in ("exited", "restarting"):
        state += f" ({each.exit_code})"
    return [
        each.service,
        state,
        each.health or "-",
        _duration(each.uptime),
        str(each.restarts),
        _memory(each),
        ", ".join(each.ports) or "-",
        each.image or "-",
        ", ".join(f"{name} {version}" for name, version in each.packages.items()) or "-",
    ]


def _memory(each: ServiceStatus) -> str:
    if each.memory is None:
        return "-"
    limit = f" of {_gigabytes(each.memory_limit)}" if each.memory_limit else ""
    return f"{_gigabytes(each.memory)}{limit}"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f}g"  # as the limits in .env are written


def _duration(seconds: float | None) -> str:
    """The two largest units: 45s, 3m 20s, 5h 2m, 4d 1h."""
    if seconds is None:
        return "-"
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def _machine(each: StackStatus) -> dict[str, object]:
    return {
        "project": each.project,
        "folder": each.folder,
        "url": each.url,
        "ready": each.ready,
        "reason": each.reason,
        "model": each.model or None,
        "test_weights": each.test_weights,
        "notice": each.notice or None,
        "services": [_machine_service(service) for service in each.services],
    }


def _machine_service(each: ServiceStatus) -> dict[str, object]:
    return {
        "service": each.service,
        "container": each.container or None,
        "state": each.state,
        "health": each.health or None,
        "health_message": each.health_message,
        "exit_code": each.exit_code,
        "restarts": each.restarts,
        "oom_killed": each.oom_killed,
        "uptime_seconds": round(each.uptime) if each.uptime is not None else None,
        "ports": list(each.ports),
        "memory_bytes": each.memory,
        "memory_limit_bytes": each.memory_limit,
        "image": each.image or None,
        **{name: each.labels.get(name) or None for name in _LABELS},
        "packages": dict(each.packages),
    }


_LABELS = ("version", "revision", "target", "backend", "model", "variant")

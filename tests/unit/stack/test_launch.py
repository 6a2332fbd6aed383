"""Starting a stack: how long is waited for it."""

from __future__ import annotations

from paddock.stack import launch
from stack_records import configuration, service


def test_the_time_limit_is_the_longest_start_period_and_some_more() -> None:
    assert launch.time_limit(configuration(), None) == launch.AFTER_START_PERIOD
    assert launch.time_limit(configuration(), 7.0) == 7.0
    stack = configuration(service("api", start_period=60.0), service("vlm", start_period=600.0))
    assert launch.time_limit(stack, None) == 600.0 + launch.AFTER_START_PERIOD

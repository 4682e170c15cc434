from __future__ import annotations

from cli.restarts import HEALTHY_SECONDS, LONGEST_WAIT_SECONDS, Restarts


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_dies_for_the_first_time_is_started_at_once() -> None:
    restarts = Restarts(Clock())
    assert restarts.died() == 0.0
    assert restarts.due


def test_what_keeps_dying_waits_ever_longer_up_to_a_limit() -> None:
    restarts = Restarts(Clock())
    waits = []
    for _ in range(9):
        waits.append(restarts.died())
        restarts.started()
    assert waits[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_SECONDS


def test_a_healthy_while_makes_the_next_death_the_first() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    for _ in range(4):
        restarts.died()
        restarts.started()
    clock.now += HEALTHY_SECONDS
    assert restarts.died() == 0.0


def test_it_is_due_only_once_its_wait_is_over() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    restarts.died()
    restarts.started()
    wait = restarts.died()
    seen = [restarts.due]
    clock.now += wait
    seen.append(restarts.due)
    assert seen == [False, True]

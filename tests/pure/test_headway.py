"""Whether a node's work moves: by the signs of its parts alone."""

from chimeway.engine.headway import Headway, Sign, Standing


def _looked(headway: Headway, moved: object, *, until: float, begin: float = 0.0) -> list[Standing | None]:
    """Look each second at one part that shows the same all the time."""
    times = [begin + n for n in range(int(until - begin) + 1)]
    return [headway.note([Sign("rounds", moved)], now, excused=False) for now in times]


def test_who_gets_nowhere_for_too_long_stands() -> None:
    """Not a moment before, and from then on until it moves."""
    headway = Headway(patience_s=5, gap_s=3)
    assert _looked(headway, 1, until=7) == [None] * 5 + [Standing("rounds", n) for n in (5.0, 6.0, 7.0)]
    assert headway.note([Sign("rounds", 2)], 8, excused=False) is None


def test_who_has_nothing_to_do_does_not_stand() -> None:
    """And what it showed before is forgotten: the same again begins anew."""
    headway = Headway(patience_s=5, gap_s=3)
    assert _looked(headway, 1, until=4) == [None] * 5
    assert _looked(headway, None, begin=5, until=20) == [None] * 16
    assert _looked(headway, 1, begin=21, until=25) == [None] * 5


def test_who_is_late_but_moves_lives() -> None:
    """However slowly it gets on, and however much it has to do."""
    headway = Headway(patience_s=5, gap_s=3)
    assert not any(
        headway.note([Sign("rounds", now // 4), Sign("results", -now)], now, excused=False)
        for now in range(100)
    )


def test_nobody_is_to_blame_while_the_database_is_away() -> None:
    """When it is back all begin anew."""
    headway = Headway(patience_s=5, gap_s=3)
    assert _looked(headway, 1, until=4) == [None] * 5
    assert not any(headway.note([Sign("rounds", 1)], now, excused=True) for now in range(5, 60))
    assert _looked(headway, 1, begin=60, until=65) == [None] * 5 + [Standing("rounds", 5.0)]


def test_after_a_time_in_which_nobody_looked_nothing_is_known() -> None:
    """The process stood (SIGSTOP, a blocked loop), and all its parts with it."""
    headway = Headway(patience_s=5, gap_s=3)
    assert _looked(headway, 1, until=4) == [None] * 5
    assert headway.note([Sign("rounds", 1)], 60, excused=False) is None


def test_one_that_stands_is_seen_among_many_that_move() -> None:
    """The one that has stood for longest is named."""
    headway = Headway(patience_s=5, gap_s=3)
    told = [
        headway.note([Sign("moves", now), Sign("stands", 7), Sign("later", max(now, 2))], now, excused=False)
        for now in range(6)
    ]
    assert told[-1] == Standing("stands", 5.0)

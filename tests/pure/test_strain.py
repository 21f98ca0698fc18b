"""Whether a node keeps up: told once when that changes, whatever the figures do about the bound."""

from chimeway.engine.lately import Lately, Took
from chimeway.engine.strain import Late, Strain


def _fed(strain: Strain, *seconds: float, of: str = "run") -> list[tuple[int, str]]:
    """Feed figures twice a second; return what was told, and at which of them."""
    told = [(n, strain.note(Late(late, of), n / 2)) for n, late in enumerate(seconds)]
    return [(n, change) for n, change in told if change is not None]


def test_it_begins_when_lateness_lasts_and_ends_when_it_is_over_for_a_while() -> None:
    """Above the bound for a second: began. Below half of it for three: over. It tells the worst."""
    strain = Strain(5.0)
    told = _fed(strain, 0, 6, 7, 8, 30, 9, 4, 2, 2, 2, 2, 2, 2, 2, 0)
    assert told == [(3, "began"), (13, "over")]
    assert strain.since is None
    assert strain.worst == Late(30, "run")


def test_a_moment_is_not_told() -> None:
    """One late look among others says nothing, nor does one good look in the middle of a strain."""
    assert _fed(Strain(5.0), 0, 6, 0, 6, 0, 6) == []
    assert _fed(Strain(5.0), *[6] * 10, *[1, 1, 1, 1, 1, 6] * 20) == [(2, "began")]


def test_figures_that_swing_about_the_bound_are_told_once() -> None:
    """A minute between four and six seconds is one strain."""
    strain = Strain(5.0)
    assert _fed(strain, *[6, 6, 6, 4] * 30) == [(2, "began")]
    assert strain.since == 0.0


def test_the_last_thousand_are_remembered() -> None:
    """Half, nearly all, and the longest; older ones are forgotten."""
    lately = Lately()
    assert lately.took() == Took()
    lately.add(99.0)
    for number in range(1_000):
        lately.add(float(number))
    assert lately.took() == Took(499.0, 989.0, 999.0)

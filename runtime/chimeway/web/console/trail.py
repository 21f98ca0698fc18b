"""The way that a run took through its workflow, from its audit. Pure."""

from collections import Counter
from collections.abc import Sequence

from chimeway.store.views import RunView, TransitionView
from chimeway.workflow.svg import Trail


def trail_of(run: RunView, transitions: Sequence[TransitionView]) -> Trail:
    """Return how often each step was entered, which arrows were taken, and where the run stands or ended."""
    entered: Counter[str] = Counter()
    took: set[tuple[str | None, str]] = set()
    at: str | None = None
    for row in transitions:
        if row.reason == "step_activated" and row.to_step is not None:
            took.add((at, row.to_step))
            entered[row.to_step] += 1
            at = row.to_step
    if run.ended_at is not None and at is not None:
        took.add((at, run.state))
    return Trail(entered, frozenset(took), run.step)


def told(run: RunView, trail: Trail) -> str:
    """Return the same in a sentence."""
    if not trail.entered:
        return "This run has entered no step yet."
    names = [f"{step} ({often} times)" if often > 1 else step for step, often in trail.entered.items()]
    where = (
        f"It ended at {run.step}: {run.state}." if run.ended_at else f"It stands on {run.step}: {run.state}."
    )
    return f"This run went through {', '.join(names)}. {where}"

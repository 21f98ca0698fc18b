"""Whether a change of a delivery is worth waking its run for. Not whether it moves: `decide` says.

The dispatcher asks before it nudges. A wrong "yes" costs one evaluation; a wrong "no" would cost
the run its next step until a sweep finds it, so this must never be narrower than the table.
"""

from chimeway.progression.notify import matching_rule
from chimeway.workflow.definition import Definition, Outcome


def outcome_moves(definition: Definition, step_id: str, outcome: Outcome | None, *, terminal: bool) -> bool:
    """Return whether an active run of this step moves when its delivery becomes this.

    Args:
        definition: the run's pinned definition.
        step_id: the run's current step.
        outcome: the delivery's outcome now (semantics §4).
        terminal: whether it has ended.

    Returns:
        True for every end of a delivery (rows 11 and 14 to 16), and for `temporary_failure` where
        an on_outcome or stop rule names it (row 11). False for a step the definition lacks.
    """
    step = definition.step(step_id)
    if step is None:
        return False
    if terminal:
        return True
    return outcome is not None and matching_rule(step, outcome) is not None

"""What is looked at after each act: the reference model, and the invariants that concern rows (I1 to I10)."""

from datetime import datetime
from uuid import UUID

from chimeway.progression.decision import Decision, Noop
from chimeway.progression.fold import Folded, fold
from chimeway.progression.replay import differences, replay
from chimeway.progression.snapshot import LIVE
from chimeway.testing.simulation.facts import Said
from chimeway.testing.simulation.tables import Broken, Entry, RunRow, picture_of
from chimeway.testing.simulation.world import World


def look(world: World) -> None:
    """Tell the models what became durable, and compare the rows of the runs that it was about with them.

    Raises:
        AssertionError: what cannot be, or is not as the model has it.
    """
    told, world.rows.told = world.rows.told, []
    touched: dict[UUID, None] = {}
    for run_id, fact in told:
        if isinstance(fact, Said):
            world.said = (*world.said, fact)
        for each in world.models if run_id is None else (run_id,):
            world.models[each].happened(fact)
            touched[each] = None
    for run_id in touched:
        _compare(world, run_id)


def _compare(world: World, run_id: UUID) -> None:
    row, model = world.rows.runs[run_id], world.models[run_id]
    if found := model.picture.differences(picture_of(row, world.rows.messages[run_id])):
        raise Broken("the rows are not as the model has them: " + "; ".join(found))
    run, last = row.run, fold(t for _, t in row.transitions)
    if last != Folded(run.state, run.step, run.visit, run.status_reason, run.status_context):
        raise Broken(f"I1: the transitions fold to {last}")
    if model.moves(world.rows.clock) and not world.rows.wakes(run_id):
        raise Broken("I9: the run would move, and no wake finds it")
    for visit, each in world.rows.messages[run_id].items():
        if each.delivery.status in ("pending", "failed", "deferred") and each.next_attempt_at is None:
            raise Broken(f"I9: the message of visit {visit} waits for no time")
        if each.delivery.status == "dispatched" and each.attempts[-1].result is not None:
            raise Broken(f"I9: the message of visit {visit} is under way, and its attempt is over")


def looked(world: World, run_id: UUID, now: datetime, answer: Decision | Noop) -> None:
    """Compare what the core answers about committed rows with whether the model would move."""
    if world.rows.look(run_id):
        return  # of these signals the core could not know yet
    if world.models[run_id].moves(now) is isinstance(answer, Noop):
        raise Broken(f"the core says {type(answer).__name__} at {now:%H:%M:%S.%f}, the model otherwise")


def decided(world: World, before: RunRow, entry: Entry) -> None:
    """Decide again what was just written, from what was written down with it (I10)."""
    folded = fold(transition for _, transition in before.transitions)
    again = replay(world.plan.definition, folded, entry.decision.inputs)
    if found := differences(entry.decision, again):
        raise Broken(f"I10: decided again, it differs in {', '.join(found)}")


def begun(world: World, due: datetime | None, answer: str) -> None:
    """See that an attempt that was just begun is not before its time: backoff, or an hour that policy set."""
    if answer == "begun" and (due is None or due > world.rows.clock):
        raise Broken(f"an attempt was begun before its time, {due}")


def ended(world: World) -> None:
    """Look at a world that has come to rest: nothing was lost on the way.

    Raises:
        Broken: a run, a message or a signal was left behind.
    """
    for run_id, row in world.rows.runs.items():
        run = row.run
        if run.state == "waiting" and run.status_context["due_at"] is None:
            continue  # it waits for an instant that its data do not name, and is listed as stuck
        if run.state in LIVE:
            raise Broken(f"I9: run {run_id.int >> 64} is {run.state} at {run.step}, and nothing wakes it")
        for visit, each in world.rows.messages[run_id].items():
            if each.delivery.status not in ("succeeded", "suppressed", "cancelled"):
                raise Broken(f"I9: the message of visit {visit} is {each.delivery.status} for ever")
    if lost := world.rows.signals.keys() - world.rows.routed:
        raise Broken(f"I9: signals {sorted(lost)} were never routed")

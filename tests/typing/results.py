"""Results narrow in `match`, and a case that is left out is an error. Read by mypy, not run."""

from typing import assert_never, assert_type
from uuid import UUID

from chimeway import (
    Advanced,
    Cancellation,
    Completed,
    Engine,
    Noop,
    RunView,
    Stopped,
    Waiting,
)
from chimeway.progression.decision import NoopReason
from chimeway.store.views import DeliveryView


async def each_result_is_one_of_five(engine: Engine, run_id: UUID) -> str:
    """Each case narrows to its class, and there is no sixth."""
    match await engine.progress_run(run_id):
        case Advanced(run=run, deliveries=deliveries):
            assert_type(run, RunView)
            assert_type(deliveries, tuple[DeliveryView, ...])
            return "advanced"
        case Waiting() as waiting:
            assert_type(waiting, Waiting)
            assert_type(waiting.run, RunView)
            return "waiting"
        case Completed(run=run):
            return run.state
        case Stopped(run=run):
            return run.status_reason
        case Noop(reason=reason) as noop:
            assert_type(reason, NoopReason)
            assert_type(noop.run, RunView)
            return reason
        case never:
            assert_never(never)


async def a_missing_case_is_an_error(engine: Engine, run_id: UUID) -> str:
    """Who forgets a case is told which."""
    match await engine.progress_run(run_id):
        case Advanced() | Waiting() | Completed() | Stopped():
            return "moved"
        case never:
            assert_never(never)  # type: ignore[arg-type]  # Noop is left


async def many_results(engine: Engine) -> None:
    """What was due gives one result for each run that was taken."""
    results = await engine.progress_due_runs(limit=10)
    planned = [each.deliveries for each in results if isinstance(each, Advanced)]
    assert_type(planned, list[tuple[DeliveryView, ...]])


def states_are_words(run: RunView) -> bool:
    """A state is one of five words: another compares to nothing."""
    match run.state:
        case "active" | "waiting":
            return True
        case "completed" | "stopped" | "failed":
            return False
        case never:
            assert_never(never)


def what_a_cancel_did(done: Cancellation) -> None:
    """A cancellation says which runs it stopped, and what was on its way."""
    for stopped in done.stopped:
        assert_type(stopped.step, str | None)
        assert_type(stopped.on_their_way, tuple[UUID, ...])
    for ended in done.already_ended:
        assert_type(ended.run_id, UUID)
        if ended.state == "gone":  # type: ignore[comparison-overlap]  # no state
            raise AssertionError

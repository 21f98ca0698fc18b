"""Policy before a send: it is asked again each time, and what it saw goes with what is written.

Since a message was planned, or tried last, its recipient may have said no, or an hour may have come at which
nothing is to be sent. The ledger refuses an attempt that was judged by rows which are no longer so: who has
said no before an attempt begins gets none.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chimeway.progression.policy import Verdict
from chimeway.store.deliveries import Beginning, HeldBack, Sendable
from chimeway.store.policies import room_for, verdict_on
from chimeway.store.runs import Loaded


def judged(delivery: Sendable, run: Loaded, now: datetime) -> Verdict | None:
    """Return what policy says of a delivery now; None where there is nothing that it could go by."""
    snapshot = run.snapshot
    step = snapshot.definition.step(delivery.step_id) if snapshot else None
    if snapshot is None or step is None:
        return None
    return verdict_on(
        run.policy, snapshot.definition, step,
        zone=snapshot.zone, now=now, counted=delivery.attempt_count > 0,
    )  # fmt: skip


def beginning(
    delivery: Sendable,
    run: Loaded,
    verdict: Verdict | None,
    provider: str,
    address: str | None,
    message: Mapping[str, Any],
) -> Beginning:
    """Return an attempt to be made durable, with what policy saw when it let it go."""
    policy = run.policy
    counted = policy if verdict is not None and verdict.counts else None
    return Beginning(
        delivery.id, delivery.run_id, delivery.revision, _mailbox(run), address, dict(message), provider,
        profile=policy.profile,
        tenant=policy.tenant,
        budget=counted.budget(delivery.channel).revision if counted else None,
        room=room_for(verdict) if counted and verdict else None,
        keep=counted.keeps(delivery.channel) if counted else None,
        verdict=None if verdict is None or verdict.silent else dict(verdict.inputs),
    )  # fmt: skip


def held_back(delivery: Sendable, run: Loaded, verdict: Verdict) -> HeldBack:
    """Return what must be written where policy does not let a delivery go."""
    policy = run.policy
    if verdict.kind == "send" or verdict.reason is None:
        raise AssertionError("only what policy said can be held back by it")
    return HeldBack(
        delivery.id, delivery.run_id, delivery.revision, _mailbox(run), policy.profile, policy.tenant,
        verdict.kind, verdict.reason, verdict.until, dict(verdict.inputs),
    )  # fmt: skip


def _mailbox(run: Loaded) -> int:
    return run.snapshot.run.mailbox_count if run.snapshot else 0

"""How a delivery is born: rendered into the inbox, waiting for its provider or its hour, or suppressed."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from chimeway.progression.decision import Birth
from chimeway.progression.policy import Verdict, suppressed_as
from chimeway.render.message import Rendered, RenderFault
from chimeway.render.renderers import Renderers
from chimeway.store.content import context_of
from chimeway.store.policies import verdict_on
from chimeway.store.runs import Loaded
from chimeway.workflow.definition import NotifyAction, Step

IN_APP: Final = "in_app"


class Courier:
    """Answers the core's question for one evaluation of one run, and keeps what was rendered.

    Policy is asked first, by the decision's own time. Who does not want a message is not told that he has no
    address for it; and what has no address is not kept until an hour at which it has none either.

    Channels that need no address (such as `log`) are named by whoever configures the channels. Of one that
    is not among the `known` nobody here can say whether it needs one: its message is planned, and who is to
    send it finds that the channel is another node's, or nobody's. None: all are known.
    """

    def __init__(
        self,
        loaded: Loaded,
        now: datetime,
        renderers: Renderers,
        addressless: Collection[str],
        known: Collection[str] | None = None,
    ) -> None:
        """Take the run, the decision's time, what messages are made of, and what is known of channels."""
        self._loaded = loaded
        self._now = now
        self._renderers = renderers
        self._addressless = addressless
        self._known = known
        self._put: list[datetime] = []
        self.messages: dict[int, Rendered] = {}

    def __call__(self, step: Step, visit: int) -> Birth:
        """Say how the delivery of (step, visit) is born."""
        action = step.action
        if not isinstance(action, NotifyAction):
            raise AssertionError(f"step {step.id} plans no delivery")
        verdict = self._judged(step)
        if verdict is not None and verdict.kind == "suppress":
            return Birth("suppressed", suppressed_as(verdict), verdict=verdict)
        if action.channel == IN_APP:
            return self._in_app(step, action, visit, verdict)
        if not self._may_be_sent(action.channel):
            return Birth("suppressed", "no_address")
        if verdict is not None and verdict.kind == "defer":
            return Birth("deferred", verdict.reason, until=verdict.until, verdict=verdict)
        return Birth("pending", verdict=verdict)

    def _judged(self, step: Step) -> Verdict | None:
        snapshot = self._loaded.snapshot
        if snapshot is None:
            raise AssertionError("a run that is not understood plans nothing")
        return verdict_on(
            self._loaded.policy, snapshot.definition, step, zone=snapshot.zone, now=self._now, also=self._put
        )

    def _may_be_sent(self, channel: str) -> bool:
        if channel in self._addressless or self._loaded.recipient.addresses.get(channel) is not None:
            return True
        return self._known is not None and channel not in self._known

    def _in_app(self, step: Step, action: NotifyAction, visit: int, verdict: Verdict | None) -> Birth:
        context = context_of(self._loaded, step)
        made = self._renderers.render(action.render_key, IN_APP, context)
        if isinstance(made, RenderFault):
            return Birth("cancelled", "permanent_failure", "configuration", made.reason, verdict=verdict)
        self.messages[visit] = made
        self._put.append(self._now)
        return Birth("succeeded", verdict=verdict)

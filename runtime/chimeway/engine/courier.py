"""How a delivery is born: rendered into the inbox, waiting for its provider, or suppressed."""

from collections.abc import Collection
from typing import Final

from chimeway.progression.decision import Birth
from chimeway.render.message import Rendered, RenderFault
from chimeway.render.renderers import Renderers
from chimeway.store.content import context_of
from chimeway.store.runs import Loaded
from chimeway.workflow.definition import NotifyAction, Step

IN_APP: Final = "in_app"


class Courier:
    """Answers the core's question for one evaluation of one run, and keeps what was rendered.

    Channels that need no address (such as `log`) are named by whoever configures the channels.
    """

    def __init__(self, loaded: Loaded, renderers: Renderers, addressless: Collection[str]) -> None:
        """Take the run and what messages are made of."""
        self._loaded = loaded
        self._renderers = renderers
        self._addressless = addressless
        self.messages: dict[int, Rendered] = {}

    def __call__(self, step: Step, visit: int) -> Birth:
        """Say how the delivery of (step, visit) is born."""
        action = step.action
        if not isinstance(action, NotifyAction):
            raise AssertionError(f"step {step.id} plans no delivery")
        if action.channel == IN_APP:
            return self._in_app(step, action, visit)
        if (
            action.channel in self._addressless
            or self._loaded.recipient.addresses.get(action.channel) is not None
        ):
            return Birth("pending")
        return Birth("suppressed", "no_address")

    def _in_app(self, step: Step, action: NotifyAction, visit: int) -> Birth:
        context = context_of(self._loaded, step)
        made = self._renderers.render(action.render_key, IN_APP, context)
        if isinstance(made, RenderFault):
            return Birth("cancelled", "permanent_failure", "configuration", made.reason)
        self.messages[visit] = made
        return Birth("succeeded")

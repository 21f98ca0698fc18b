"""What is known outside of a scenario's nodes about their leases: whose ran out, and who has reason to beat.

In earnest a node beats by time, and sooner when it hears by NOTIFY that shards change hands. Here a beat is
a step like any other: likely for those who were called, rare for others. A call may be lost, and a lease may
run out though its node lives: then it works on without, until it hears of it, or a batch of its is refused.
"""

from collections.abc import Iterable
from typing import Final

from chimeway.store.ledger import Fence
from chimeway.testing.simulation.real_players import PlayedNode
from chimeway.testing.simulation.scheduler import Draw, Gate

_MOST_EXPIRED: Final = 2


class Leases:
    """Who has to beat, and whose lease is to run out."""

    def __init__(self, draw: Draw) -> None:
        """Begin without any."""
        self._draw = draw
        self._called: set[str] = set()
        self._expired = 0  # of the living
        self._to_be_buried = False
        self._heard = 0.9
        self.left: list[Fence] = []
        """Of the dead: they run out some time."""

    def died(self, node: PlayedNode) -> None:
        """Note that a node died, and whether it left a lease, perhaps without any shard in it."""
        if node.fence is not None:
            self.left.append(node.fence)

    def answered(self, gate: Gate, answer: object) -> None:
        """Note a lease of which its node does not hear: it died, and nobody else will end it."""
        if gate.muted and isinstance(answer, Fence):
            self.left.append(answer)

    def may_expire(self, node: PlayedNode) -> bool:
        """Say whether a living node's lease may run out; unless another ends it first, a beat renews it."""
        return node.tenure is not None and self._expired < _MOST_EXPIRED

    def expired(self, fence: Fence, nodes: Iterable[PlayedNode]) -> None:
        """Note that a lease ran out; those who live will see to its shards."""
        if fence in self.left:
            self.left.remove(fence)
        else:
            self._expired += 1
        self._to_be_buried = True
        self.call(node for node in nodes if node.tenure is None or node.tenure.fence != fence)

    def calm_down(self, nodes: Iterable[PlayedNode]) -> None:
        """Lose no call any more: in the calm nobody beats by time."""
        self._heard = 1.0
        self.call(nodes)

    def call(self, nodes: Iterable[PlayedNode]) -> None:
        """Call nodes to beat; a call may be lost."""
        self._called |= {node.owner for node in nodes if self._draw.happens(self._heard)}

    def urgent(self, node: PlayedNode) -> bool:
        """Say whether a node has reason to beat now."""
        leaving = node.leaving.is_set() and node.tenure is not None and not node.tenure.handed_over.is_set()
        return leaving or node.owner in self._called

    def passed(self, gate: Gate, nodes: Iterable[PlayedNode]) -> None:
        """Note what was done about a lease, and call those whom it concerns."""
        others = [node for node in nodes if node.owner != gate.owner]
        self._called.discard(gate.owner)
        if gate.kind == "lease":
            self.call(others)
        if gate.label == "begin a lease":
            self._called.add(gate.owner)
        elif gate.kind == "beat" and self._to_be_buried:
            self._to_be_buried = False
            self.call(others)

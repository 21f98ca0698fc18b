"""Seeded simulation: many nodes, any crash, and a reference model that looks at every step.

`simulate` plays journeys of all kinds, or those of your own workflow, in thousands of orders.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chimeway.testing.simulation.pure import Scenario, SimulationFailed, simulate

__all__ = ["Scenario", "SimulationFailed", "simulate"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the real simulation has no use for the pure one."""
    if name not in __all__:
        raise AttributeError(f"module 'chimeway.testing.simulation' has no attribute {name!r}")
    found = getattr(import_module("chimeway.testing.simulation.pure"), name)
    globals()[name] = found
    return found

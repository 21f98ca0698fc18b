"""The composition root: a node from its settings to its end."""

from chimeway.daemon.node import serve

__all__ = ["serve"]

"""Chimeway without an event loop: `from chimeway.sync import Chimeway`.

The same verbs, results and errors as `chimeway.Chimeway`, over psycopg 3 (the extra `sync`), for any thread.
"""

from chimeway.extras import imported

with imported():
    from chimeway.sync.chimeway import Chimeway
    from chimeway.sync.inbox import Inbox
    from chimeway.sync.seed_forms import Signal, Trigger

__all__ = ["Chimeway", "Inbox", "Signal", "Trigger"]

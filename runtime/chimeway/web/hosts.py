"""By which name a node was asked: whether it is one that another's DNS could have led here.

A page of a stranger may have its own name lead to this machine, once it stands in somebody's browser, and
ask as if the node were its own (DNS rebinding). It cannot choose the `Host` that the browser says: that is
its name. An address is no name, and `localhost` is nobody's.
"""

import re
from ipaddress import ip_address
from typing import Final

from starlette.requests import Request

_PORT: Final = re.compile(r":[0-9]*$", re.ASCII)


def by_address(request: Request) -> bool:
    """Say whether a node was asked by its address, as `localhost`, or by no browser, which says no `Host`."""
    host = request.headers.get("host", "").strip().lower()
    name = _PORT.sub("", host).removesuffix(".")
    if name.startswith("["):
        name = name.removeprefix("[").removesuffix("]")
    if name in {"", "localhost"} or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

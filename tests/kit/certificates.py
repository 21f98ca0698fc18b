"""An authority of a test's own, and certificates by it: nothing outside the test trusts them."""

import atexit
import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme


@cache
def authority() -> trustme.CA:
    """Return the authority; one a test process, since keys take their time."""
    return trustme.CA()


@cache
def ca_file() -> Path:
    """Return the PEM file of the authority's own certificate."""
    folder = TemporaryDirectory(prefix="chimeway-ca-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "ca.pem"
    authority().cert_pem.write_to_path(str(path))
    return path


@cache
def serving(*names: str) -> ssl.SSLContext:
    """Return TLS for a server of these names or addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*names).configure_cert(context)
    return context

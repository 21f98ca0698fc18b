"""Whose certificates are trusted: the system's authorities, and an operator's own besides."""

import ssl
from pathlib import Path

from chimeway.errors import InvalidSettings


def trusting(ca_file: Path | None, context: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """Return TLS that trusts what the system trusts, and the authorities in a PEM file besides.

    Args:
        ca_file: the file.
        context: what trusts the system's authorities already; made here if left out.

    Raises:
        InvalidSettings: the file cannot be read, or holds no certificate.
    """
    context = context or ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            told = error.strerror or type(error).__name__
            raise InvalidSettings(
                f"ca_file: {ca_file} cannot be read ({told}); right would be a PEM file of certificates",
                variable="ca_file",
            ) from None
    return context

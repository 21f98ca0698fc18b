"""Data folders for the tests of the server of one's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.data_folder import data_folder, forget_clusters


@pytest.fixture(scope="session", autouse=True)
def _clusters() -> Iterator[None]:
    yield
    forget_clusters()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder in which a server has run before."""
    with data_folder() as made:
        yield made


@pytest.fixture
def new_folder() -> Iterator[Path]:
    """Where a data folder may be made."""
    with data_folder(made=False) as missing:
        yield missing

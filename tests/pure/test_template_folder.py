"""A folder of templates: what is read, and what is told of what cannot be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chimeway.daemon.template_folder import read_sources
from chimeway.errors import InvalidSettings
from chimeway.limits import MAX_TEMPLATE_BYTES


def test_folders_links_and_what_does_not_count(tmp_path: Path) -> None:
    """Folders below and links count; other names, and those that begin with a dot, do not."""
    folder, elsewhere = tmp_path / "templates", tmp_path / "shared"
    (folder / "layouts").mkdir(parents=True)
    (folder / ".git").mkdir()
    elsewhere.mkdir()
    (folder / "a b.email.j2").write_bytes(b"\xef\xbb\xbf\xc3\xa4")
    (folder / "layouts" / "base.j2").write_text("base")
    (elsewhere / "foot.j2").write_text("foot")
    (folder / "shared").symlink_to(elsewhere)
    (folder / "one.j2").symlink_to(elsewhere / "foot.j2")
    (folder / ".#a.j2").symlink_to("nowhere")
    (folder / ".git" / "x.j2").write_text("x")
    (folder / "README.md").write_text("x")
    assert read_sources(folder) == {
        "a b.email.j2": "ä", "layouts/base.j2": "base", "shared/foot.j2": "foot", "one.j2": "foot",
    }  # fmt: skip
    assert read_sources(None) == {}


def _undecodable_name(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.j2")).write_text("x")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not UTF-8": (lambda f: (f / "x.j2").write_bytes(b"a\nb\xff"), "x.j2 is not UTF-8 (line 2)"),
    "huge": (
        lambda f: (f / "x.j2").write_bytes(b"x" * (MAX_TEMPLATE_BYTES + 1)),
        f"x.j2 is longer than {MAX_TEMPLATE_BYTES} bytes",
    ),
    "dangling": (lambda f: (f / "x.j2").symlink_to("nowhere"), "x.j2 cannot be read (No such file"),
    "a pipe": (lambda f: os.mkfifo(f / "x.j2"), "x.j2 is no file"),
    "a loop": (lambda f: (f / "again").symlink_to(f), "16 folders deep: is there a link back into itself?"),
    "a loop of links": (lambda f: (f / "x.j2").symlink_to("x.j2"), "x.j2 cannot be read"),
    "odd name": (lambda f: (f / "a\nb.j2").write_text("x"), "a\\nb.j2 has a name of characters"),
    "name not UTF-8": (_undecodable_name, "?.j2 has a name of characters"),
}


@pytest.mark.parametrize(("spoil", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_what_cannot_be_read_is_named(spoil: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    """A file that is no template stops the reading, and the error names it."""
    spoil(tmp_path)
    with pytest.raises(InvalidSettings) as refused:
        read_sources(tmp_path)
    assert told in refused.value.message


def test_no_folder(tmp_path: Path) -> None:
    """A folder that is not there is named with the setting that names it."""
    with pytest.raises(InvalidSettings, match=r"--templates: .*missing is no folder"):
        read_sources(tmp_path / "missing", "--templates")

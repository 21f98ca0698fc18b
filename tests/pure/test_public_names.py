"""The public names: listed once for people, once for type checkers, imported on demand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chimeway
from chimeway.errors import ChimewayError, MissingExtra
from chimeway.extras import EXTRA_OF, imported


def _for_type_checkers() -> dict[str, str]:
    tree = ast.parse(Path(str(chimeway.__file__)).read_text("utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_are_told_the_same_homes() -> None:
    """What a type checker reads and what is imported on demand are the same names from the same modules."""
    assert _for_type_checkers() == dict(chimeway._HOME_OF)
    assert sorted(chimeway.__all__) == sorted(chimeway._HOME_OF)
    assert len(set(chimeway.__all__)) == len(chimeway.__all__)


@pytest.mark.parametrize("name", chimeway.__all__)
def test_each_name_is_there(name: str) -> None:
    """Every public name can be imported, and is listed by `dir`."""
    assert getattr(chimeway, name) is not None
    assert name in dir(chimeway)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is none of ours is refused as Python refuses it."""
    with pytest.raises(AttributeError, match="has no attribute 'Chimway'"):
        _ = chimeway.Chimway


def test_importing_the_package_imports_nothing_heavy() -> None:
    """`import chimeway` alone brings no driver, no template engine and no command line."""
    heavy = "{'asyncpg', 'pydantic', 'jinja2', 'typer', 'rich', 'aiosmtplib', 'structlog'}"
    code = f"import sys, chimeway; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("package", "extra"), EXTRA_OF.items())
def test_a_missing_extra_is_named_with_the_command_that_installs_it(package: str, extra: str) -> None:
    """The import of a package of an extra that is not installed says what to type."""
    with pytest.raises(MissingExtra) as caught, imported():
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    assert str(caught.value) == (
        f"missing_extra: this needs the package {package}, which is not installed: "
        f"pip install 'chimeway[{extra}]'"
    )
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, ChimewayError)


def test_who_wants_more_is_told_the_extra_that_brings_it_all() -> None:
    """Where one extra is meant for what is imported, it is named, whichever package is missing first."""
    with pytest.raises(MissingExtra, match=r"pip install 'chimeway\[testing\]'"), imported("testing"):
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")


def test_a_package_of_nobodys_extra_is_missing_as_python_says() -> None:
    """An unknown module that is not found is none of our business."""
    with pytest.raises(ModuleNotFoundError, match="nothing_of_ours"), imported():
        raise ModuleNotFoundError("No module named 'nothing_of_ours'", name="nothing_of_ours")


def test_a_package_too_old_is_not_said_to_be_missing() -> None:
    """What a package that is installed lacks is told as Python tells it."""
    with pytest.raises(ModuleNotFoundError) as caught, imported():
        raise ModuleNotFoundError("No module named 'typer.exceptions'", name="typer.exceptions")
    assert not isinstance(caught.value, MissingExtra)

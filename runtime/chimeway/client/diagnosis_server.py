"""What facts say of the server, the way to it, and its tables. Pure: `diagnosis` has the whole list."""

from collections.abc import Iterator, Sequence
from typing import Final

from chimeway.client.finding import Finding, judged, many, seconds, well
from chimeway.store.examining import Blocking, Facts, Holding, Index, Table

_OLDEST_SERVER: Final = 150_000
_SLOW_S: Final = 0.05
_CLOCK_S: Final = 5.0
_FULL: Final = 0.8
_FROZEN_AGE: Final = 1_200_000_000
_BLOCKED_S: Final = 30.0
_OPEN_LONG_S: Final = 3_600.0
_DEAD: Final = 10_000
_DEAD_PART: Final = 0.2
_BLOATED: Final = 4.0
_BIG: Final = 64 * 1024 * 1024
_FAT_ENTRY: Final = 300
_ROWS_READ_WHOLE: Final = 50_000
_END_IT: Final = "select pg_terminate_backend({}) ends it, and what it had begun is taken back"


def of_connection(facts: Facts) -> Iterator[Finding]:
    """Judge the way to the server, as whom we come, and its clock."""
    server = facts.server
    told = f"PostgreSQL {server.told} answers in {seconds(facts.round_trip_s)}, as {server.role}"
    if facts.round_trip_s > _SLOW_S:
        yield judged(
            "connection", "warn", told, "each decision costs a round trip: run nodes near the database",
            round_trip_s=facts.round_trip_s,
        )  # fmt: skip
    else:
        yield well("connection", told, round_trip_s=facts.round_trip_s)
    if server.version < _OLDEST_SERVER:
        yield judged(
            "version", "fail", f"PostgreSQL {server.told}", "15 to 18 are supported: upgrade the server"
        )
    yield _tls(facts)
    yield _pooler(facts)
    if not server.sees_all:
        yield judged(
            "role", "warn", f"{server.role} does not see what other roles' sessions do",
            f"for a whole picture: grant pg_read_all_stats to {server.role}",
        )  # fmt: skip
    yield _clock(facts)
    part = server.connections / max(1, server.places)
    told = f"{server.connections} of {server.places} connections are in use"
    if part > _FULL:
        yield judged(
            "connections", "warn", told, "a node needs about 20: raise max_connections, or use a pooler",
            part=part,
        )  # fmt: skip
    else:
        yield well("connections", told, part=part)


def _tls(facts: Facts) -> Finding:
    server = facts.server
    if server.tls:
        return well("tls", "the connection is encrypted")
    if server.local:
        return well("tls", "the connection is not encrypted, and stays on this machine")
    return judged(
        "tls", "warn", "the connection crosses a network unencrypted", "add sslmode=verify-full to the URL"
    )


def _pooler(facts: Facts) -> Finding:
    if not facts.pooled:
        return well("pooler", "no pooler stands between")
    if facts.direct:
        return well("pooler", "a pooler stands between, and a direct way beside it is named")
    return judged(
        "pooler", "warn", "a pooler stands between: hints are not heard, and deaths noticed late",
        "name the server itself in CHIMEWAY_DIRECT_DATABASE_URL",
    )  # fmt: skip


def _clock(facts: Facts) -> Finding:
    told = f"this machine's clock is {seconds(abs(facts.offset_s))}"
    told += " ahead of" if facts.offset_s > 0 else " behind"
    told += " the database's"
    if abs(facts.offset_s) > _CLOCK_S:
        return judged(
            "clock", "warn", told,
            "nodes follow the database's clock, so nothing is early or late by it; but logs are, and TLS may"
            " be: let both follow NTP", offset_s=facts.offset_s,
        )  # fmt: skip
    return well("clock", told, offset_s=facts.offset_s)


def of_settings(facts: Facts) -> Iterator[Finding]:
    """Judge whether the server keeps what it said it has."""
    server, found = facts.server, list[Finding]()
    for name, value in (("fsync", server.fsync), ("full_page_writes", server.full_page_writes)):
        if value == "off":
            remedy = f"a power cut may ruin the whole database: set {name} = on, and restart the server"
            found.append(judged("durability", "fail", f"{name} is off", remedy))
    if server.synchronous_commit == "off":
        found.append(
            judged(
                "durability", "fail", "synchronous_commit is off for this role",
                "a crash takes back what had been answered: set it to on, or to what standbys need",
            )
        )  # fmt: skip
    if server.standby or server.read_only == "on":
        what = "is a standby" if server.standby else "is set read-only (default_transaction_read_only)"
        remedy = "name the primary: several hosts and target_session_attrs=read-write in the URL find it"
        found.append(judged("durability", "fail", f"this server {what}", remedy))
    yield from found or [well("durability", "what is committed is flushed to disk, and can be written")]
    if server.autovacuum == "off":
        yield judged("autovacuum", "fail", "autovacuum is off", "set autovacuum = on, and reload the server")
    if server.frozen_age > _FROZEN_AGE:
        yield judged(
            "autovacuum", "warn", f"the oldest row is {server.frozen_age:,} transactions old",
            "VACUUM cannot freeze rows: end what holds snapshots (below), then VACUUM (FREEZE)",
            frozen_age=server.frozen_age,
        )  # fmt: skip


def of_locks(facts: Facts) -> Iterator[Finding]:
    """Judge who waits for whom, and which transactions are open for long."""
    yield _blocking(facts.blocking)
    yield _holding(facts.holding)


def _blocking(found: Sequence[Blocking]) -> Finding:
    if not found:
        return well("blocking", "nobody waits for a lock")
    worst = max(one.waited_s or 0.0 for one in found)
    heads = _heads(found)
    who = "; ".join(
        f"{many(len({each.blocked for each in found if each.pid == one.pid}), 'session')} for {_who(one)}"
        for one in heads[:5]
    )
    ends = _END_IT.format(heads[0].pid if heads else "PID")
    return judged(
        "blocking", "fail" if worst > _BLOCKED_S else "warn", f"since {seconds(worst)}: {who}",
        f"end that transaction where it was begun; else {ends}",
        longest_s=worst, pids=sorted({one.pid for one in heads if one.pid is not None}),
    )  # fmt: skip


def _heads(found: Sequence[Blocking]) -> list[Blocking]:
    """Return one row for each of those who hold what others wait for, and wait for nobody themselves."""
    waiting = {one.blocked for one in found}
    first = {one.pid: one for one in found if one.pid not in waiting}
    return list(first.values()) or list({one.pid: one for one in found}.values())


def _who(one: Blocking) -> str:
    if one.pid is None or one.role is None:
        return "a session that is not seen (or a prepared transaction)"
    of = f'"{one.name}", ' if one.name else ""
    how = f", {one.state}, open for {seconds(one.open_s)}" if one.state else ""  # "": it may not be seen
    return f"pid {one.pid} ({of}role {one.role}{how})"


def _holding(found: Sequence[Holding]) -> Finding:
    if not found:
        return well("snapshots", "no transaction is open for long")
    oldest = max((one.open_s or 0.0 for one in found), default=0.0)
    told = "; ".join(
        f"{one.kind} {one.which}{f' ({one.name})' if one.name else ''}, {one.state}"
        + ("" if one.open_s is None else f", open for {seconds(one.open_s)}")
        for one in found[:5]
    )
    first = found[0]
    if first.kind == "session":
        remedy = f"end it where it was begun; else {_END_IT.format(first.which)}"
    elif first.kind == "prepared":
        remedy = f"commit or roll it back: rollback prepared '{first.which}'"
    else:
        remedy = f"drop it if nobody reads it: select pg_drop_replication_slot('{first.which}')"
    return judged(
        "snapshots", "fail" if oldest > _OPEN_LONG_S else "warn", f"dead rows cannot be removed: {told}",
        f"{remedy}; for applications: set idle_in_transaction_session_timeout", oldest_s=oldest,
    )  # fmt: skip


def of_tables(facts: Facts) -> Iterator[Finding]:
    """Judge what VACUUM and ANALYZE left, how big tables are, and how they are read."""
    yield from _dead(facts.tables)
    yield from _bloat(facts)
    yield from _reading(facts)


def _dead(tables: Sequence[Table]) -> Iterator[Finding]:
    bad = [one for one in tables if one.dead > _DEAD and one.dead > one.live * _DEAD_PART]
    off = [one.name for one in tables if one.unvacuumed]
    if off:
        remedy = f"alter table chimeway.{off[0]} reset (autovacuum_enabled)"
        yield judged("dead_rows", "fail", f"autovacuum is off for {', '.join(off)}", remedy)
    if bad:
        told = "; ".join(f"{one.name}: {one.dead:,} dead beside {one.live:,}" for one in bad)
        yield judged(
            "dead_rows", "warn", told,
            f"see whether something holds a snapshot (above); then vacuum (analyze) chimeway.{bad[0].name}",
            dead={one.name: one.dead for one in bad},
        )  # fmt: skip
    if not off and not bad:
        yield well("dead_rows", f"{sum(one.dead for one in tables):,} dead rows in all")
    unknown = [one.name for one in tables if one.live > _DEAD and one.analyzed_at is None]
    if unknown:
        yield judged(
            "statistics", "warn", f"never analyzed: {', '.join(unknown)}", f"analyze chimeway.{unknown[0]}"
        )


def _bloat(facts: Facts) -> Iterator[Finding]:
    tables = [one for one in facts.tables if one.bytes > _BIG and one.bytes > _BLOATED * max(one.needed, 1)]
    indexes = [
        one for one in facts.indexes if one.bytes > _BIG and one.bytes > _FAT_ENTRY * max(one.entries, 1)
    ]
    if tables:
        told = "; ".join(f"{one.name}: {_mib(one.bytes)}, about {_mib(one.needed)} needed" for one in tables)
        yield judged(
            "bloat", "warn", told, f"in a quiet hour: vacuum full chimeway.{tables[0].name} (locks it)",
        )  # fmt: skip
    if indexes:
        told = "; ".join(f"{one.name}: {_mib(one.bytes)} for {one.entries:,.0f} entries" for one in indexes)
        yield judged("bloat", "warn", told, f"reindex index concurrently chimeway.{indexes[0].name}")
    if not tables and not indexes:
        sized: list[Table | Index] = [*facts.tables, *facts.indexes]
        yield well("bloat", f"{_mib(sum(one.bytes for one in sized))} in all")


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _reading(facts: Facts) -> Iterator[Finding]:
    broken = [one.name for one in facts.indexes if not one.whole]
    if broken:
        yield judged(
            "indexes", "fail", f"not whole, and not used: {', '.join(broken)}",
            f"its making was cut off: drop index concurrently chimeway.{broken[0]}, then chimeway db migrate",
        )  # fmt: skip
    read = [
        one for one in facts.tables
        if one.live > _ROWS_READ_WHOLE and one.scanned > one.fetched and one.scanned > 10 * one.live
    ]  # fmt: skip
    if read:
        told = "; ".join(
            f"{one.name}: {one.scanned:,} rows by reading all of it, {one.fetched:,} by index" for one in read
        )
        yield judged(
            "indexes", "warn", told,
            f"analyze chimeway.{read[0].name}; if it stays so, look for queries of your own that read it",
        )  # fmt: skip
    if not broken and not read:
        yield well("indexes", f"all {len(facts.indexes)} are whole; no big table is read from end to end")

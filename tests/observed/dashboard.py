"""Writes `deploy/grafana/chimeway.json`, the dashboard: `python -m tests.observed.dashboard`.

Rows of panels, each with a title, a unit and what it asks Prometheus. To change the dashboard change this,
run it, and import the file anew; what is changed in Grafana alone is gone with the next import.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WHERE: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "chimeway.json"
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_WIDE: Final = 24
_HIGH: Final = 7
_RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """A panel: lines over time, each with its legend; or (`now`) one number, red from a threshold on."""

    title: str
    unit: str
    asks: tuple[tuple[str, str], ...]
    told: str = ""
    now: bool = False
    red_from: float | None = None


def quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Ask for the median, the 99th of a hundred, and the legend of each."""
    of = f"le, {by}" if by else "le"
    named = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (f"histogram_quantile({q}, sum by ({of}) (rate({metric}_bucket{_RATE})))", f"{named}{told}")
        for q, told in ((0.5, "p50"), (0.99, "p99"))
    )


def rate(metric: str, by: str) -> tuple[tuple[str, str], ...]:
    """Ask how many a second, by a label or two."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return ((f"sum by ({by}) (rate({metric}{_RATE}))", legend),)


NOW: Final = (
    Panel("Nodes that work", "none", (('sum(chimeway_node_stage{stage="working"})', ""),), now=True),
    Panel("Oldest overdue", "s", (("max(chimeway_oldest_overdue_seconds)", ""),), now=True, red_from=30),
    Panel(
        "Oldest unheard signal", "s", (("max(chimeway_database_oldest_unrouted_signal_seconds)", ""),),
        now=True, red_from=30,
    ),
    Panel("Runs that wait", "short", (("max(chimeway_database_runs_waiting)", ""),), now=True),
    Panel("Runs held", "none", (("max(chimeway_database_runs_held)", ""),), now=True, red_from=1),
    Panel(
        "Shards without a node", "none", (("max(chimeway_database_shards_ownerless)", ""),),
        now=True, red_from=1,
    ),
)  # fmt: skip

ROWS: Final = (
    ("Work", (
        Panel("Decisions", "ops", rate("chimeway_decisions_total", "kind")),
        Panel("Lateness", "s", quantiles("chimeway_lateness_seconds", "of"), "From due until durable."),
        Panel("Due", "short", (
            ("sum(chimeway_due_runs)", "runs"), ("sum(chimeway_due_deliveries)", "deliveries"),
            ("max(chimeway_database_signals_unrouted)", "signals"),
        ), "What waits to be done now, what is at work included."),
        Panel("At work", "short", (
            ("sum by (instance) (chimeway_runs_at_work)", "{{instance}} runs"),
            ("sum by (instance) (chimeway_deliveries_at_work)", "{{instance}} deliveries"),
        )),
        Panel("Noops", "ops", rate("chimeway_noops_total", "reason"), "From these nothing followed."),
        Panel("Mailbox", "short", quantiles("chimeway_mailbox_depth"), "Signals not consumed at a decision."),
    )),
    ("Messages", (
        Panel("Deliveries", "ops", rate("chimeway_deliveries_total", "channel, outcome")),
        Panel("Not sent", "ops", rate("chimeway_deliveries_not_sent_total", "channel, reason"),
              "Messages that nobody gets any more, by why."),
        Panel("Attempts", "ops", rate("chimeway_attempts_total", "channel, provider, result")),
        Panel("How long providers take", "s", quantiles("chimeway_attempt_seconds", "channel")),
        Panel("Breakers that are not closed", "none", (
            ('max by (channel, provider, state) (chimeway_breaker_state{state!="closed"})',
             "{{channel}} {{provider}} {{state}}"),
            ("sum by (channel, provider) (chimeway_endpoints_shut)", "{{channel}} {{provider}} servers"),
        )),
    )),
    ("Database", (
        Panel("Ledger: decisions a batch", "short", quantiles("chimeway_ledger_batch_size")),
        Panel("Ledger: seconds a batch", "s", quantiles("chimeway_ledger_batch_seconds")),
        Panel("Ledger: answers but applied", "ops", (
            (f'sum by (answer) (rate(chimeway_ledger_answers_total{{answer!="applied"}}{_RATE}))',
             "{{answer}}"),
        )),
        Panel("Troubles", "none", (
            ("max by (instance, kind) (chimeway_database_trouble)", "{{instance}} {{kind}}"),
            (f"sum by (kind) (rate(chimeway_database_troubles_total{_RATE}))", "{{kind}} a second"),
        )),
        Panel("Hint round trip", "s", quantiles("chimeway_hint_round_trip_seconds")),
        Panel("Waits for a node, or is paused", "short", (
            ("max(chimeway_database_runs_incapable)", "runs"),
            ("max(chimeway_database_deliveries_incapable)", "deliveries"),
            ("max(chimeway_database_attempts_open)", "attempts without an end"),
            ("max(chimeway_database_workflows_paused)", "workflows paused"),
        )),
    )),
    ("Nodes", (
        Panel("Shards", "short", (("sum by (instance) (chimeway_shards_held)", "{{instance}}"),)),
        Panel("Taken over from the dead", "short", (
            ("sum by (instance) (increase(chimeway_shards_taken_over_total[30m]))", "{{instance}} in 30 min"),
        )),
        Panel("Lease renewed", "s", (
            ("max by (instance) (chimeway_lease_renewed_age_seconds)", "{{instance}} ago"),
            *quantiles("chimeway_lease_renewal_seconds"),
        )),
        Panel("Event loop lag", "s", quantiles("chimeway_event_loop_lag_seconds", "instance")),
        Panel("HTTP refused", "ops", rate("chimeway_http_refused_total", "status"), "429: asks too often."),
        Panel("CPU", "percentunit", (
            (f'sum by (instance) (rate(process_cpu_seconds_total{{job="chimeway"}}{_RATE}))', "{{instance}}"),
        )),
        Panel("Memory", "bytes", (
            ('max by (instance) (process_resident_memory_bytes{job="chimeway"})', "{{instance}}"),
        )),
        Panel("Polling, overloaded", "none", (
            ('max by (instance) (chimeway_wake_mode{mode="polling"})', "{{instance}} polling"),
            ("max by (instance) (chimeway_overloaded)", "{{instance}} overloaded"),
        )),
        Panel("Age of what the database said", "s", (
            ("max by (instance) (chimeway_sample_age_seconds)", "{{instance}}"),
        )),
    )),
)  # fmt: skip


def drawn(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    """Return a panel as Grafana has it."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    return {
        "id": number,
        "type": "stat" if panel.now else "timeseries",
        "title": panel.title,
        "description": panel.told,
        "datasource": _SOURCE,
        "gridPos": at,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"steps": steps}},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(65 + place), "expr": expr, "legendFormat": legend, "datasource": _SOURCE}
            for place, (expr, legend) in enumerate(panel.asks)
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the whole of it."""
    panels: list[dict[str, Any]] = []
    wide = _WIDE // len(NOW)
    for place, panel in enumerate(NOW):
        panels.append(drawn(panel, len(panels) + 1, {"x": place * wide, "y": 0, "w": wide, "h": 4}))
    y = 4
    for title, row in ROWS:
        at = {"x": 0, "y": y, "w": _WIDE, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": at, "collapsed": False}
        )
        y += 1
        for place, panel in enumerate(row):
            x, down = place % 2 * (_WIDE // 2), place // 2 * _HIGH
            at = {"x": x, "y": y + down, "w": _WIDE // 2, "h": _HIGH}
            panels.append(drawn(panel, len(panels) + 1, at))
        y += (len(row) + 1) // 2 * _HIGH
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "chimeway",
        "title": "Chimeway",
        "tags": ["chimeway"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WHERE.write_text(text(), encoding="utf-8")

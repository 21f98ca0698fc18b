"""Alert rules: each fires when it should and is silent when it should be, as promtool has it."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from chimeway.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "chimeway.rules.yml"
PROMTOOL = shutil.which("promtool")
LONG = 160
"""Scrapes, one in fifteen seconds: forty minutes."""


@dataclass(frozen=True, slots=True)
class Case:
    """Series as promtool writes them, and whether the alert fires at the end of them."""

    alert: str
    fires: bool
    series: Mapping[str, str]
    at: str = "40m"


def always(value: float, scrapes: int = LONG) -> str:
    """Write a series that stays as it is."""
    return f"{value}x{scrapes}"


def grows(by: float, scrapes: int = LONG) -> str:
    """Write a counter that rises by so much each scrape."""
    return f"0+{by}x{scrapes}"


def then(*parts: str) -> str:
    """Write one series after the other."""
    return " ".join(parts)


WORKS, STANDS_BY = 'chimeway_node_stage{stage="working"}', 'chimeway_node_stage{stage="standing_by"}'
DELIVERED = 'chimeway_deliveries_total{channel="email",outcome="delivered"}'
FAILED = 'chimeway_deliveries_total{channel="email",outcome="permanent_failure"}'
CLOSED = 'chimeway_breaker_state{channel="email",provider="smtp-1",state="closed"}'
OPEN = 'chimeway_breaker_state{channel="email",provider="smtp-1",state="open"}'
POLLING = 'chimeway_wake_mode{instance="a",mode="polling"}'
REFUSED = 'chimeway_database_trouble{instance="a",kind="refused"}'
BORN = 'process_start_time_seconds{job="chimeway",instance="a"}'
TAKEN = 'chimeway_shards_taken_over_total{instance="a"}'
UP = 'up{job="chimeway",instance="a"}'
AGE = 'chimeway_lease_renewed_age_seconds{instance="a"}'
SIGNAL = "chimeway_database_oldest_unrouted_signal_seconds"
INCAPABLE, UNSENT = "chimeway_database_runs_incapable", "chimeway_database_deliveries_incapable"
CASES = (
    Case("ChimewayNoNode", True, {WORKS: always(0), STANDS_BY: always(1)}),
    Case("ChimewayNoNode", True, {}),
    Case("ChimewayNoNode", False, {WORKS: always(1)}),
    Case("ChimewayNodeDown", True, {UP: then("1x40", "0x120")}),
    Case("ChimewayNodeDown", False, {UP: then("1x40", "0x3", "1x117")}),
    Case("ChimewayShardsOwnerless", True, {"chimeway_database_shards_ownerless": always(86)}),
    Case("ChimewayShardsOwnerless", False, {"chimeway_database_shards_ownerless": then("0x150", "86x3 0x7")}),
    Case("ChimewayWorkIsLate", True, {"chimeway_oldest_overdue_seconds": grows(15)}),
    Case("ChimewayWorkIsLate", False, {"chimeway_oldest_overdue_seconds": always(29)}),
    Case("ChimewaySignalsUnrouted", True, {SIGNAL: grows(15)}),
    Case("ChimewaySignalsUnrouted", False, {SIGNAL: then("0x150", "45x2", "0x8")}),
    Case("ChimewayRunsHeld", True, {"chimeway_database_runs_held": always(1)}),
    Case("ChimewayRunsHeld", False, {"chimeway_database_runs_held": then("0x130", "1x30")}),
    Case("ChimewayWorkflowPaused", True, {"chimeway_database_workflows_paused": always(2)}),
    Case("ChimewayWorkflowPaused", False, {"chimeway_database_workflows_paused": then("2x100", "0x60")}),
    Case("ChimewayNoCapableNode", True, {INCAPABLE: always(0), UNSENT: always(3)}),
    Case("ChimewayNoCapableNode", False, {INCAPABLE: then("0x110", "9x50"), UNSENT: always(0)}),
    Case("ChimewayDeliveriesFail", True, {DELIVERED: grows(10), FAILED: grows(1)}),
    Case("ChimewayDeliveriesFail", False, {DELIVERED: grows(100), FAILED: grows(1)}),
    Case("ChimewayDeliveriesFail", False, {DELIVERED: always(0), FAILED: then("0x100", "9x60")}),
    Case("ChimewayBreakerOpen", True, {CLOSED: always(0), OPEN: always(1)}),
    Case(
        "ChimewayBreakerOpen",
        False,
        {CLOSED: then("0x10", "1x2") + " 0x8 1x2 0x8 1x2 0x8 1x2", OPEN: "1x40"},
        "10m",
    ),
    Case("ChimewayPolling", True, {POLLING: always(1)}),
    Case("ChimewayPolling", False, {POLLING: then("0x140", "1x20")}),
    Case("ChimewayLeaseNotRenewed", True, {AGE: grows(15)}),
    Case("ChimewayLeaseNotRenewed", False, {AGE: always(2)}),
    Case("ChimewayDatabaseTrouble", True, {REFUSED: always(1)}),
    Case("ChimewayDatabaseTrouble", False, {REFUSED: then("0x150", "1x2", "0x8")}),
    Case("ChimewayTakeOversFlap", True, {BORN: "0+100x160"}),
    Case("ChimewayTakeOversFlap", True, {TAKEN: grows(8), BORN: always(1)}),
    Case("ChimewayTakeOversFlap", False, {TAKEN: then("0x80", "256x80"), BORN: then("1x80", "2x80")}),
    Case("ChimewayFiguresStale", True, {"chimeway_sample_age_seconds": grows(15)}),
    Case("ChimewayFiguresStale", False, {"chimeway_sample_age_seconds": always(5)}),
)


def rules() -> list[dict[str, Any]]:
    """Return the rules as they are."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def as_promtool_has_it(cases: Sequence[Case]) -> dict[str, Any]:
    """Return what promtool is to test."""
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": f"{case.alert} {'fires' if case.fires else 'is silent'} ({number})",
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)',
                        "eval_time": case.at,
                        "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
                    }
                ],
            }
            for number, case in enumerate(cases)
        ],
    }


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_each_alert_fires_and_is_silent(tmp_path: Path) -> None:
    """Both cases of every rule, in time that promtool plays."""
    assert PROMTOOL is not None
    wanted = {(rule["alert"], fires) for rule in rules() for fires in (True, False)}
    assert {(case.alert, case.fires) for case in CASES} == wanted
    written = tmp_path / "rules.test.yml"
    written.write_text(yaml.safe_dump(as_promtool_has_it(CASES)))
    for asked in (["check", "rules", str(RULES)], ["test", "rules", str(written)]):
        done = subprocess.run([PROMTOOL, *asked], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_says_what_to_do() -> None:
    """A sentence of what is wrong, a few of what to do, and who must hear of it."""
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert re.search(r"\S{2,}\.$", rule["annotations"]["summary"].strip())
        assert len(rule["annotations"]["runbook"]) > 80


def test_what_is_to_be_done_can_be_done() -> None:
    """Commands that alerts name are there."""
    told = " ".join(rule["annotations"]["runbook"] for rule in rules())
    named = set(re.findall(r'"chimeway ([a-z]+)', told))
    assert named
    assert named <= COMMANDS.keys()

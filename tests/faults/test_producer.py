"""What a producer says of itself is no more than what is so."""

import json
import time
from dataclasses import replace
from pathlib import Path

from faults.journal import Journal
from faults.plan import Act, Plan
from faults.producer import Orders, Producer


def test_only_what_is_still_to_be_decided_is_under_way(tmp_path: Path) -> None:
    """What was read or cancelled, or whose wait is over, is not live: faults wait for what is."""
    orders = Orders("p1", "postgresql://nowhere", str(tmp_path), 7, 10, (100,), 5, 10.0)
    usual = Plan("", "hook", 100, "acme", "p1-person-1", "leave", 20.0, ())
    acts: list[tuple[Act, float]] = [
        ("leave", 10), ("read", 10), ("cancel", 10), ("noise", 50), ("hold", 50),  # under way
        ("read", 30), ("cancel", 30), ("read_at_once", 1), ("leave", 101),
    ]  # fmt: skip
    journal = Journal(orders.log)
    for number, (act, _) in enumerate(acts, 1):
        plan = replace(usual, id=f"p1-{number}", act=act)
        journal.write({"w": "intent", "act": "trigger", "j": plan.id, "plan": plan.to_json()})
    now = time.time()
    for number, (_, ago_s) in enumerate(acts, 1):
        journal.write({"t": now - ago_s, "w": "committed", "act": "trigger", "j": f"p1-{number}", "run": "r"})
    journal.close()
    Producer(orders).tell()
    assert json.loads(orders.status.read_text())["live"] == 5

"""What a developer waits for: the first test of a session with the Harness, cold, and each next.

Several sessions of pytest, each a process of its own that finds no server running and starts one: so the
first test's time holds the server's start, the schema and the import of everything.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from chimeway.testing.server import VARIABLE

_SESSIONS = 5
_TESTS = 8
_GUIDE = """
from chimeway import Notify, Wait, Workflow, signal_received

mention_escalation = Workflow(key="mention_escalation", version=1, steps=[
    Notify("step_in_app", channel="in_app", render_key="mention_notification"),
    Wait("step_wait_for_read", duration="PT2H", stop_conditions=[signal_received("notification_read")]),
    Notify("step_email_escalation", channel="email", render_key="mention_email"),
])
"""
_JOURNEY = """
async def test_n{n}(chimeway_harness):
    async with chimeway_harness(mention_escalation) as journey:
        await journey.trigger()
        await journey.advance("PT2H")
        assert [sent.channel for sent in journey.sent] == ["email"]
"""


async def bench(seconds: float) -> None:
    """Time sessions one after another, and print the first test's time and that of each next."""
    del seconds  # a session takes as long as it takes
    print(
        f"harness: {_SESSIONS} sessions of {_TESTS} tests of the guide's journey, each on a server of its own"
    )
    sessions = [await asyncio.to_thread(_session) for _ in range(_SESSIONS)]
    firsts = [session[0] for session in sessions]
    others = sorted(time for session in sessions for time in session[1:])
    print(f"  first test: median {statistics.median(firsts):.2f} s, at most {max(firsts):.2f} s")
    print(
        f"  each next: median {1000 * statistics.median(others):.0f} ms, at most {1000 * others[-1]:.0f} ms"
    )


def _session() -> list[float]:
    """Return what each test took, in seconds, setting up and tearing down included; in order."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "test_it.py").write_text(_GUIDE + "".join(_JOURNEY.format(n=n) for n in range(_TESTS)))
        env = {key: value for key, value in os.environ.items() if key != VARIABLE}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", "-vv",
             "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"],
            cwd=name, env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = re.findall(r"^([\d.]+)s (?:setup|call|teardown)\s+\S+::test_n(\d)", done.stdout, re.MULTILINE)
    return [sum(float(took) for took, n in found if int(n) == each) for each in range(_TESTS)]

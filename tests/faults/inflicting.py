"""How each kind of fault is done to the world, and undone."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from faults.nodes import Node, wait_s
from faults.schedule import Fault
from faults.world import Child, World

Detail: TypeAlias = dict[str, float]
_DRAIN_S: Final = 40.0
_LOCKED_RUNS: Final = 100
_PROVIDER_BACK_S: Final = 0.5


async def kill(world: World, node: Node, fault: Fault) -> Detail:
    """Kill a node, and begin its next life."""
    node.kill()
    await asyncio.sleep(fault.seconds)
    world.start_node(node)
    return {}


async def hand_over(world: World, node: Node, fault: Fault) -> Detail:
    """Ask a node to end, and begin its next life."""
    began = time.monotonic()
    node.send(signal.SIGTERM)
    if not await asyncio.to_thread(wait_s, node.process, _DRAIN_S):
        raise AssertionError(f"{node.name} did not end within {_DRAIN_S} s of SIGTERM:\n{node.tail()}")
    assert node.ended_well(), f"{node.name} ended with {node.process.returncode}:\n{node.tail()}"
    took_s = time.monotonic() - began
    await asyncio.sleep(fault.seconds)
    world.start_node(node)
    return {"ended_after_s": round(took_s, 3)}


async def freeze(_world: World, node: Node, fault: Fault) -> Detail:
    """Stop a node where it is, for longer than its lease."""
    node.send(signal.SIGSTOP)
    await asyncio.sleep(fault.seconds)
    node.send(signal.SIGCONT)
    return {}


async def cut_off(_world: World, node: Node, fault: Fault) -> Detail:
    """Let nothing pass between a node and PostgreSQL."""
    node.lines.database.black_hole()
    await asyncio.sleep(fault.seconds)
    node.lines.database.heal()
    return {}


async def cut(_world: World, node: Node, fault: Fault) -> Detail:
    """Reset a node's sessions after holding their answers."""
    return {"sessions": await node.lines.database.cut_in_answer(fault.seconds)}


async def slow(_world: World, node: Node, fault: Fault) -> Detail:
    """Put latency between a node and PostgreSQL."""
    delay_s = 0.02 + 0.08 * fault.chance
    node.lines.database.delay(delay_s, 0.02)
    await asyncio.sleep(fault.seconds)
    node.lines.database.heal()
    return {"delay_s": round(delay_s, 3)}


async def deaf(_world: World, node: Node, fault: Fault) -> Detail:
    """Let nothing pass on the session that listens, and on no other."""
    held = node.lines.database.black_hole(lambda link: link.says(f"{node.name} listener"))
    await asyncio.sleep(fault.seconds)
    for link in held:
        link.up.heal()
        link.down.heal()
    return {"sessions": len(held)}


async def clock(_world: World, node: Node, fault: Fault) -> Detail:
    """Step a node's wall clock while it runs, and step it back."""
    wrong_by_s = random.Random(fault.chance).choice((-600, -120, -5, 5, 120, 600))
    node.set_clock(wrong_by_s)
    await asyncio.sleep(fault.seconds)
    node.set_clock(0)
    return {"wrong_by_s": wrong_by_s}


async def unanswered(_world: World, node: Node, fault: Fault) -> Detail:
    """Let calls reach the provider, and no answer come back; then reset them."""
    lines = (node.lines.webhooks, node.lines.mail)
    for line in lines:
        line.down.hold()
    await asyncio.sleep(fault.seconds)
    ended = sum(line.cut() for line in lines)
    for line in lines:
        line.heal()
    return {"connections": ended}


async def restart(world: World, _fault: Fault) -> Detail:
    """Restart PostgreSQL in order."""
    await world.postgres.restart()
    return {}


async def crash(world: World, _fault: Fault) -> Detail:
    """Have PostgreSQL recover."""
    await world.postgres.crash()
    return {}


async def failover(world: World, _fault: Fault) -> Detail:
    """Lose the primary. What follows it up (a new standby) is part of the fault."""
    began = time.monotonic()
    await world.postgres.fail_over()
    promoted_s = time.monotonic() - began
    await world.postgres.mend()
    return {"promoted_after_s": round(promoted_s, 3)}


async def terminate(world: World, fault: Fault) -> Detail:
    """End a third of all sessions, or so."""
    return {"sessions": await world.postgres.terminate(1 + int(fault.chance * 25), str(fault.number))}


async def lock(world: World, fault: Fault) -> Detail:
    """Sit on the runs that are due next; what happens to PostgreSQL meanwhile happens to the sitter, too."""
    return {"runs": await world.postgres.lock(_LOCKED_RUNS, fault.seconds)}


async def provider_down(world: World, fault: Fault) -> Detail:
    """Kill the provider, and start it again."""
    world.provider.kill()
    await asyncio.sleep(fault.seconds)
    world.provider.start()
    await asyncio.sleep(_PROVIDER_BACK_S)
    return {}


async def provider_hangs(world: World, fault: Fault) -> Detail:
    """Stop the provider where it is."""
    world.provider.send(signal.SIGSTOP)
    await asyncio.sleep(fault.seconds)
    world.provider.send(signal.SIGCONT)
    return {}


async def producer(_world: World, child: Child, fault: Fault) -> Detail:
    """Kill a producer, and begin its next life."""
    child.kill()
    await asyncio.sleep(fault.seconds)
    child.start()
    return {}


async def producer_cut(world: World, fault: Fault) -> Detail:
    """Reset producers' sessions after holding their answers."""
    return {"sessions": await world.producer_line.cut_in_answer(fault.seconds)}


ON_NODE: Final[dict[str, Callable[[World, Node, Fault], Awaitable[Detail]]]] = {
    "kill": kill, "hand_over": hand_over, "freeze": freeze, "cut_off": cut_off, "cut": cut, "slow": slow,
    "deaf": deaf, "clock": clock, "unanswered": unanswered,
}  # fmt: skip
ON_POSTGRES: Final[dict[str, Callable[[World, Fault], Awaitable[Detail]]]] = {
    "restart": restart, "crash": crash, "failover": failover, "terminate": terminate,
}  # fmt: skip
ON_PROVIDER: Final[dict[str, Callable[[World, Fault], Awaitable[Detail]]]] = {
    "provider_down": provider_down, "provider_hangs": provider_hangs,
}  # fmt: skip
ELSEWHERE: Final[dict[str, Callable[[World, Fault], Awaitable[Detail]]]] = {
    "lock": lock,
    "producer_cut": producer_cut,
}

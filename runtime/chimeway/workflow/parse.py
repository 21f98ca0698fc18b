"""From a value to a definition: `check` finds all faults at once, `parse` refuses them.

It reads JSON values only. Text (JSON, YAML) is `text`'s affair, Python objects are `build`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chimeway.errors import InvalidDefinition
from chimeway.limits import MAX_VISITS
from chimeway.workflow.definition import END, Definition, Json, Repeat, Step, default_next
from chimeway.workflow.graph import Graph, graph_of
from chimeway.workflow.place import PLACEHOLDER, Place, Scope
from chimeway.workflow.problems import Problem, Problems, shown
from chimeway.workflow.read_conditions import read_conditions
from chimeway.workflow.read_steps import read_steps
from chimeway.workflow.soundness import REFUSED, sound_copy

_TOLD = 50
"""Faults that one message tells; `details["problems"]` has all."""
MAX_VERSION = 2**31 - 1
"""The greatest version: a PostgreSQL `integer`."""
_MAY_HIDE_A_WAY = (
    "unknown_step",
    "unknown_key",
    "missing_key",
    "wrong_type",
    "invalid_value",
    "progress_on_wait",
)
"""Where one of these was found, a step may be unreachable only for it: no remark then."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: a definition when no problem is an error, and every problem."""

    definition: Definition | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the problems that make it invalid."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return the remarks that do not."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")


def check(raw: object, *, channels: frozenset[str] | None = None) -> Checked:
    """Judge a definition in its JSON form and return all that is wrong with it; never raises.

    `channels` are the names known here, if that is known: others are a warning.
    """
    return check_with(raw, Problems(), channels=channels)


def check_with(raw: object, problems: Problems, *, channels: frozenset[str] | None = None) -> Checked:
    """Judge as `check` does, going on with a collector that may hold faults of the text already.

    Where the reader of the text had to refuse a value, `raw` has `REFUSED`.
    """
    copy = sound_copy(raw, problems)
    if copy is REFUSED:
        return Checked(None, problems.all())
    scope = _scope(copy, channels)
    definition = _definition(Place(copy, "", problems, scope))
    _judge_journey(definition.steps, scope, problems)
    return Checked(None if problems.any_error() else definition, problems.all())


def parse(raw: object) -> Definition:
    """Return the definition that `raw`, its JSON form, describes.

    Raises InvalidDefinition, whose message lists every error one a line and whose
    `details["problems"]` holds all problems.
    """
    checked = check(raw)
    if checked.definition is None:
        raise invalid_definition(checked.problems, _key_of(raw))
    return checked.definition


def invalid_definition(problems: tuple[Problem, ...], source: str) -> InvalidDefinition:
    """Return the error that tells of these problems, found in what `source` names."""
    errors = [problem for problem in problems if problem.severity == "error"]
    plural = "fault" if len(errors) == 1 else "faults"
    lines = "".join(f"\n  {problem.printed(source)}" for problem in errors[:_TOLD])
    lines += f"\n  and {len(errors) - _TOLD} more" if len(errors) > _TOLD else ""
    return InvalidDefinition(f"{len(errors)} {plural} in {source}{lines}", problems=problems)


def _key_of(raw: object) -> str:
    key = raw.get("key") if isinstance(raw, dict) else None
    return f"workflow {shown(key)}" if isinstance(key, str) else "the workflow"


def _scope(copy: Json, channels: frozenset[str] | None) -> Scope:
    steps = copy.get("steps") if isinstance(copy, dict) else None
    kinds: dict[str, object] = {}
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and isinstance(step.get("id"), str):
            action = step.get("action")
            kinds[step["id"]] = action.get("type") if isinstance(action, dict) else None
    waits = frozenset(step_id for step_id, kind in kinds.items() if kind == "wait")
    return Scope(frozenset(kinds), waits, channels)


def _definition(place: Place) -> Definition:
    optional = ("stop_conditions", "critical", "category", "description")
    fields = place.fields(("key", "version", "steps"), optional)
    steps, description = fields["steps"], fields["description"]
    return Definition(
        key=fields.identifier("key"),
        version=_version(fields["version"]),
        steps=() if steps is None else _with_plain_next(read_steps(steps)),
        stop_conditions=read_conditions(fields.items("stop_conditions"), "workflow"),
        critical=fields.flag("critical"),
        category=fields.optional_identifier("category"),
        description=None if description is None or description.value is None else description.text(),
    )


def _version(place: Place | None) -> int:
    if place is None:
        return 1
    if isinstance(place.value, bool) or not isinstance(place.value, int):
        place.wrong_type("an integer")
    elif not 1 <= place.value <= MAX_VERSION:
        place.error("invalid_value", f"given {shown(place.value)}; wanted 1 to {MAX_VERSION}")
    else:
        return place.value
    return 1


def _with_plain_next(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Forget each `next` that only says the default: equal journeys are equal values."""
    return tuple(
        replace(step, next=None) if step.next == default_next(steps, place) else step
        for place, step in enumerate(steps)
    )


def _judge_journey(steps: tuple[Step, ...], scope: Scope, problems: Problems) -> None:
    if not steps:
        return
    if problems.has("duplicate_step_id") or any(step.id in (PLACEHOLDER, END) for step in steps):
        return  # which step is what, and leads where, is not known
    if all(step.id in scope.wait_ids for step in steps):
        problems.warning("nothing_is_sent", "steps", "given no notify step; wanted at least one message")
    graph = graph_of(steps)
    places = {step.id: f"steps[{index}]" for index, step in enumerate(steps)}
    bounded = {step.id for step in steps if isinstance(step.next, Repeat)}
    for walk in graph.endless_cycles():
        told = "whose rounds take no time" if bounded & {*walk} else "which can go round without end"
        problems.error(
            "endless_cycle",
            places[walk[0]],
            f"given the cycle {_drawn(walk)}, {told}; wanted a wait "
            "with `duration` or `until: {at}`, or a `wait_until` in it (another `until` may be over at once)",
        )
    if not any(problems.has(code) for code in _MAY_HIDE_A_WAY):
        _note_unreachable(graph, places, problems)
        _judge_rounds(steps, graph, problems)


def _judge_rounds(steps: tuple[Step, ...], graph: Graph, problems: Problems) -> None:
    for index, step in enumerate(steps):
        if not isinstance(step.next, Repeat):
            continue
        length = graph.steps_to(step.next.step_id, step.id)
        if length is None:
            problems.error(
                "invalid_value",
                f"steps[{index}].next.repeat",
                f"given {shown(step.next.step_id)}, from which no way leads back to {shown(step.id)}; wanted "
                "a step of the round that is to be repeated",
            )
        elif length * step.next.times >= MAX_VISITS:
            problems.warning(
                "never_used",
                f"steps[{index}].next.times",
                f"given {step.next.times} rounds of at least {length} steps; a run that has entered "
                f"{MAX_VISITS:,} steps is held, and never comes to `then`",
            )


def _drawn(walk: tuple[str, ...]) -> str:
    names = walk if len(walk) <= 9 else (*walk[:4], "...", *walk[-4:])
    return " -> ".join(name[:60] for name in names)


def _note_unreachable(graph: Graph, places: Mapping[str, str], problems: Problems) -> None:
    reachable = graph.reachable()
    for step_id, path in places.items():
        if step_id not in reachable:
            problems.warning(
                "unreachable_step", path, f"no path from the first step leads to {shown(step_id)}"
            )

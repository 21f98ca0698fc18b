"""What `workflow paths` promises of times holds for every journey that is really played, on paper."""

from datetime import timedelta
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from chimeway.progression.rehearse import Rehearsal, rehearse
from chimeway.progression.script import START, Fate, Script, SignalEvent
from chimeway.workflow.definition import OUTCOMES, Definition, Json, NotifyAction
from chimeway.workflow.encode import conditions_of, required_data
from chimeway.workflow.paths import Path, paths
from property.definitions import calendars, definitions, instants

MOST = 200


@st.composite
def scripts(draw: st.DrawFn, definition: Definition) -> Script:
    """Return what happens: fates that come at once, and signals at any moment."""
    data: dict[str, Json] = {
        name: draw(instants) if kind == "instant" else draw(st.sampled_from([None, 1, "x"]))
        for name, kind in required_data(definition).items()
    }
    mails = [step.id for step in definition.steps if isinstance(step.action, NotifyAction)]
    fates = {step: Fate(draw(st.sampled_from(OUTCOMES))) for step in mails if draw(st.booleans())}
    types = sorted({condition.signal_type for condition in conditions_of(definition)})
    spans = st.sampled_from([timedelta(0), timedelta(seconds=1), timedelta(hours=1), timedelta(days=20)])
    signals = st.builds(
        lambda span, kind: SignalEvent(START + span, kind, {}), spans, st.sampled_from(types or ["none"])
    )
    events = draw(st.lists(signals, max_size=3))
    zone = draw(st.sampled_from(["UTC", "Europe/London", "Pacific/Apia"]))
    happening = tuple(sorted(events, key=lambda event: event.at))
    return Script(START, zone, data, fates, happening, draw(calendars))


def entered(played: Rehearsal) -> list[tuple[str, timedelta]]:
    """Return the steps of a rehearsal in order, each with when it was entered."""
    return [(line.step or "", line.at - START) for line in played.timeline if line.what == "step_activated"]


def is_on(path: Path, steps: list[tuple[str, timedelta]]) -> bool:
    """Tell whether steps are how a path begins, each within its span."""
    if len(steps) > len(path.legs):
        return False
    return all(
        leg.step.id == step
        and leg.entered.earliest <= START + at
        and (leg.entered.latest is None or START + at <= leg.entered.latest)
        for leg, (step, at) in zip(path.legs, steps, strict=False)
    )


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_every_rehearsal_is_a_listed_path(data: st.DataObject) -> None:
    """Whatever the fates and signals: the steps that are entered are a path's, each within its times."""
    definition = data.draw(definitions(min_steps=2))
    script = data.draw(scripts(definition))
    found = paths(definition, start=START, zone=script.zone, data=script.data, working=script.working)
    known = list(islice(found, MOST + 1))
    if len(known) > MOST or any(path.end == "repeats" for path in known):
        return  # round and round: a thousand steps a rehearsal
    steps = entered(rehearse(definition, script))
    assert any(is_on(path, steps) for path in known), (steps, script)

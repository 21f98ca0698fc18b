"""Definitions in Python: `Workflow`, `Notify`, `Wait` and the words that go into them.

These write the JSON form and nothing else; `parse` judges it. So a definition written here, in a
dict, in JSON and in YAML is the same thing, with the same faults and the same digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError, ValidationError
from pydantic_core import to_json

from chimeway.errors import InvalidDefinition, InvalidInput
from chimeway.workflow import encode
from chimeway.workflow.definition import Definition, Json, Outcome
from chimeway.workflow.durations import iso_duration, iso_instant
from chimeway.workflow.parse import parse
from chimeway.workflow.problems import child

_TOLD: Final = 5
"""Faults of data that one message tells; `details["problems"]` has all."""
Form: TypeAlias = dict[str, Json]
"""A part of a definition in its JSON form."""


@dataclass(frozen=True, slots=True, init=False)
class Notify:
    """A step that sends one message on one channel."""

    form: Form

    def __init__(
        self,
        id: str,  # noqa: A002  (the format's own word)
        /,
        *,
        channel: str,
        render_key: str,
        data: Mapping[str, Json] | None = None,
        send_window: Form | None = None,
        progress: Sequence[Form] = (),
        next: str | Form | None = None,  # noqa: A002  (the format's own word)
    ) -> None:
        """Take the step's id, where and what to send, and what follows from the outcome.

        `send_window` are the hours in which it may be sent, by the recipient's clock: `hours(...)`.
        """
        action = {"type": "notify", "channel": channel, "render_key": render_key}
        data = dict(data) if isinstance(data, Mapping) else data
        form = {
            "id": id,
            "action": action | _given(data=data, send_window=send_window),
            **_given(progress=_listed(progress), next=next),
        }
        object.__setattr__(self, "form", form)

    def as_dict(self) -> Form:
        """Return the JSON form."""
        return dict(self.form)


@dataclass(frozen=True, slots=True, init=False)
class Wait:
    """A step that waits for a span of time, until an instant, or for a signal."""

    form: Form

    def __init__(
        self,
        id: str,  # noqa: A002  (the format's own word)
        /,
        *,
        duration: str | timedelta | None = None,
        until: str | datetime | Form | None = None,
        stop_conditions: Sequence[Form] = (),
        next: str | Form | None = None,  # noqa: A002  (the format's own word)
    ) -> None:
        """Take the step's id, exactly one of `duration` and `until`, and what ends it early.

        A `timedelta` is an exact span: for a calendar day write "P1D". `until` is an aware
        datetime, RFC 3339 text, `from_data("name")`, `local_time("09:00")` or `within("09:00", "17:00")`.
        """
        times = _given(duration=_span(duration), until=_moment(until))
        conditions = _given(stop_conditions=_listed(stop_conditions))
        action = {"type": "wait", **times, **conditions}
        object.__setattr__(self, "form", {"id": id, "action": action, **_given(next=next)})

    def as_dict(self) -> Form:
        """Return the JSON form."""
        return dict(self.form)


@dataclass(frozen=True, slots=True, init=False)
class Workflow:
    """An immutable, versioned, valid definition, written in Python."""

    definition: Definition
    data_model: type[BaseModel] | None

    def __init__(  # noqa: PLR0913  (the format's keys, all by name)
        self,
        *,
        key: str,
        version: int,
        steps: Sequence[Notify | Wait | Form],
        stop_conditions: Sequence[Form] = (),
        critical: bool = False,
        category: str | None = None,
        description: str | None = None,
        data: type[BaseModel] | None = None,
    ) -> None:
        """Take the definition's parts; `data` is a model that the trigger's data must fit.

        Raises InvalidDefinition with all faults at once, and InvalidInput where `data` is no model.
        """
        form: Form = {"key": key, "version": version, "steps": _listed(steps)}
        form |= {"critical": critical, **_given(stop_conditions=_listed(stop_conditions))}
        form |= _given(category=category, description=description)
        object.__setattr__(self, "definition", parse(form))
        object.__setattr__(self, "data_model", _model(data))

    def __eq__(self, other: object) -> bool:
        """Compare by digest: for Python true is 1, for a definition it is not."""
        if not isinstance(other, Workflow):
            return NotImplemented
        return (self.digest, self.data_model) == (other.digest, other.data_model)

    def __hash__(self) -> int:
        """Hash by content, as equality does."""
        return hash(self.digest)

    @property
    def key(self) -> str:
        """Return the definition's key."""
        return self.definition.key

    @property
    def version(self) -> int:
        """Return the definition's version."""
        return self.definition.version

    @property
    def digest(self) -> str:
        """Return the digest of the canonical form."""
        return encode.digest(self.definition)

    def as_dict(self) -> Form:
        """Return the canonical JSON form."""
        return encode.encode(self.definition)

    def data_schema(self) -> Form | None:
        """Return the JSON Schema of the data model, if one was given.

        Raises InvalidDefinition where pydantic can make none of it.
        """
        return None if self.data_model is None else schema_of(self.data_model)

    def has_judged(self, data: object) -> bool:
        """Say whether this is an instance of the data model, which was judged when it was made."""
        return self.data_model is not None and isinstance(data, self.data_model)

    def check_data(self, data: Json) -> Json:
        """Return the trigger's data as JSON when it fits the data model, if one was given.

        Data is kept whole: a mapping is returned as it is, an instance of a model in its JSON form.
        Raises InvalidInput, with pydantic's list of faults in `details["problems"]`.
        """
        judged = self.has_judged(data)
        if isinstance(data, BaseModel):
            data = data.model_dump(mode="json", by_alias=True)
        if self.data_model is not None and not judged:
            try:
                self.data_model.model_validate_json(to_json(data))
            except ValidationError as fault:
                raise _unfit(self.data_model, fault) from None
        return data


def _model(given: object) -> type[BaseModel] | None:
    if given is None or (isinstance(given, type) and issubclass(given, BaseModel)):
        return given
    hint = "give a class that is a pydantic.BaseModel"
    raise InvalidInput(f"data is no model: {hint}", field="data", hint=hint)


def _unfit(model: type[BaseModel], fault: ValidationError) -> InvalidInput:
    problems = fault.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{reduce(child, problem['loc'], 'data')}: {problem['msg']}" for problem in problems]
    more = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return InvalidInput(
        f"data does not fit {model.__name__}: {'; '.join(told[:_TOLD])}{more}",
        field="data",
        problems=problems,
    )


def schema_of(model: type[BaseModel]) -> Form:
    """Return the JSON Schema of a model, or raise InvalidDefinition where pydantic can make none of it."""
    try:
        return model.model_json_schema()
    except (PydanticUserError, PydanticUndefinedAnnotation) as fault:
        hint = "give its fields types that JSON can hold"
        what = f"data: no JSON Schema can be made of {model.__name__} ({fault.message}): {hint}"
        raise InvalidDefinition(what, hint=hint) from None


def signal_received(
    signal_type: str,
    /,
    *,
    match: Mapping[str, Json] | None = None,
    then: Literal["stop", "continue"] | Form = "stop",
    since: Literal["run", "entered"] = "run",
) -> Form:
    """Return the condition that a signal of this type, whose payload fits `match`, has come.

    Args:
        signal_type: what happened.
        match: fields of the payload and what each must equal: a value, `from_data`, `from_delivery`.
        then: `stop` ends the run, `continue` the wait alone, `goto(...)` leads elsewhere.
        since: `entered`: only what comes after the step was entered; else also what came before.
    """
    form: Form = {"type": "signal_received", "signal_type": signal_type}
    form |= _given(match=dict(match) if isinstance(match, Mapping) else match)
    form |= {} if then == "stop" else {"then": then}
    return form if since == "run" else {**form, "since": since}


def from_data(name: str, /) -> Form:
    """Return the reference to a top-level field of the trigger's data."""
    return {"data": name}


def from_delivery(step_id: str, /) -> Form:
    """Return the reference to the id of that step's latest delivery."""
    return {"delivery": step_id}


def goto(step_id: str, /) -> Form:
    """Return the `then` of a condition that leads to this step."""
    return {"goto": step_id}


def repeat(step_id: str, /, *, times: int, then: str) -> Form:
    """Return the `next` of a step that leads back, at most so often, and then on.

    Args:
        step_id: where it leads back to.
        times: how often.
        then: where it leads afterwards.
    """
    return {"repeat": step_id, "times": times, "then": then}


def on_outcome(outcome: Outcome, /, *, to_step: str, keep_retrying: bool = False) -> Form:
    """Return the rule that this outcome leads to that step.

    Args:
        outcome: of the step's delivery.
        to_step: where it leads.
        keep_retrying: whether a delivery that failed so far is tried on; else it is given up (`superseded`).
    """
    form: Form = {"kind": "on_outcome", "outcome": outcome, "to_step": to_step}
    return form if keep_retrying is False else {**form, "keep_retrying": keep_retrying}


def stop_on(outcome: Outcome, /) -> Form:
    """Return the rule that this outcome stops the run."""
    return {"kind": "stop", "outcome": outcome}


def wait_until(
    *,
    to_step: str,
    delay: str | timedelta | None = None,
    delay_seconds: float | None = None,
    cancel_signals: Sequence[Form] = (),
) -> Form:
    """Return the rule to wait, once the delivery is terminal, and then go to that step.

    Args:
        to_step: where it leads.
        delay: how long, as ISO 8601 or a timedelta; or
        delay_seconds: how long, in seconds.
        cancel_signals: conditions that stop the run meanwhile (`signal_received` without `match`).
    """
    times = _given(delay=_span(delay), delay_seconds=delay_seconds)
    signals = _given(cancel_signals=_listed(cancel_signals))
    return {"kind": "wait_until", "to_step": to_step, **times, **signals}


def _given(**members: Json) -> Form:
    """Leave out what was left out."""
    return {name: value for name, value in members.items() if value is not None and value != []}


def _listed(parts: object) -> Json:
    # What is no sequence of parts stays as it is, for the check to name.
    if not isinstance(parts, list | tuple):
        return parts
    return [part.as_dict() if isinstance(part, Notify | Wait) else part for part in parts]


def _span(duration: Json) -> Json:
    return iso_duration(duration) if isinstance(duration, timedelta) else duration


def _moment(until: Json) -> Json:
    if not isinstance(until, datetime):
        return until
    return until.isoformat() if until.tzinfo is None else iso_instant(until)

"""What is said to `/v1` and what it answers, as its description has it. Only at this border."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, StrictBool

from chimeway.client.inbox_calls import Mark, MarkOfAll
from chimeway.client.recipient import Recipient
from chimeway.limits import MAX_INBOX_TOKEN_S, MAX_NOTE_CHARS, MAX_RECIPIENTS
from chimeway.web.api.asking import Identifier
from chimeway.workflow.parse import MAX_VERSION


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("give an instant with its zone, like 2026-01-05T09:00:00Z")
    return value


def _only_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("give a whole number")
    return value  # 3.0 is one, in JSON


Instant: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_only_text)]
Json: TypeAlias = dict[str, Any]
Note: TypeAlias = Annotated[
    str | None, Field(max_length=MAX_NOTE_CHARS, pattern=r"^[^\x00]*$", description="Why; kept for people.")
]


class Said(BaseModel):
    """What is said: a name that nobody knows is refused, and not passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Profile(Said):
    """A recipient's profile: what is left out stays as it is, null removes."""

    email: str | None = Field(None, examples=["ada@example.org"])
    phone: str | None = Field(None, examples=["+441632960123"])
    timezone: str | None = Field(None, description="An IANA name.", examples=["Europe/London"])
    locale: str | None = Field(None, examples=["en-GB"])
    addresses: dict[str, str | None] | None = Field(None, description="Channel to address.")
    preferences: Json | None = Field(None, description="Merged into what is known, key by key.")
    data: Json | None = Field(None, description="Merged likewise.")

    def recipient(self, name: str) -> Recipient:
        """Return it as the client takes it: what was not said is left out."""
        given: dict[str, Any] = {
            field: getattr(self, field) for field in Profile.model_fields if field in self.model_fields_set
        }
        return Recipient(name, **given)


class RecipientSaid(Profile):
    """Whom a trigger is for, with the profile that is written in the same transaction."""

    recipient_id: Identifier = Field(examples=["user_123"])


class OneTrigger(Said):
    """One event: whom it is for, and what about."""

    recipients: Annotated[list[Identifier | RecipientSaid], FailFast()] = Field(
        min_length=1,
        max_length=MAX_RECIPIENTS,
        description="One run begins for each.",
        examples=[["user_123"]],
    )
    data: Json = Field(default_factory=dict, examples=[{"document_id": "doc_789"}])
    idempotency_key: Identifier | None = Field(
        None, description="The event's own: the same again, from wherever, begins nothing.",
        examples=["mention-789-123"],
    )  # fmt: skip
    cancellation_key: Identifier | None = Field(None, description="By which `cancel` finds the runs.")
    at: Instant | None = Field(None, description="The earliest instant of the first step.")

    def whom(self) -> list[str | Recipient]:
        """Return the recipients as the client takes them."""
        return [one if isinstance(one, str) else one.recipient(one.recipient_id) for one in self.recipients]

    def ids(self) -> list[str]:
        """Return the recipients' ids."""
        return [one if isinstance(one, str) else one.recipient_id for one in self.recipients]


Version: TypeAlias = Annotated[int, Field(ge=1, le=MAX_VERSION), BeforeValidator(_only_number)]


class Trigger(OneTrigger):
    """An event that begins a run of a workflow for each recipient."""

    workflow: Identifier = Field(
        description="The key of a registered workflow.", examples=["mention_escalation"]
    )
    workflow_version: Version | None = Field(None, description="Left out: the current one.")


class BulkTrigger(Said):
    """Many events of one workflow, all or none."""

    workflow: Identifier = Field(examples=["mention_escalation"])
    workflow_version: Version | None = None
    triggers: Annotated[list["PlainTrigger"], FailFast()] = Field(min_length=1, max_length=MAX_RECIPIENTS)


class PlainTrigger(Said):
    """One of many events: whom it is for, by ids."""

    recipient_ids: Annotated[list[Identifier], FailFast()] = Field(
        min_length=1, max_length=MAX_RECIPIENTS, examples=[["user_123"]]
    )
    data: Json = Field(default_factory=dict)
    idempotency_key: Identifier | None = None
    cancellation_key: Identifier | None = None
    at: Instant | None = None


class Signal(Said):
    """Something that somebody did: his runs hear it."""

    type: Identifier = Field(examples=["notification_read"])
    actor_id: Identifier = Field(examples=["user_123"])
    payload: Json = Field(default_factory=dict, examples=[{"document_id": "doc_789"}])
    dedupe_key: Identifier | None = None


class BulkSignal(Said):
    """Many signals, all or none."""

    signals: Annotated[list[Signal], FailFast()] = Field(min_length=1, max_length=MAX_RECIPIENTS)


class Preferences(Said):
    """What a recipient wants: merged into what is known, key by key; null inside removes a key."""

    preferences: Json = Field(examples=[{"channels": {"sms": False}}])


class Unsubscription(Said):
    """Of which messages nobody wants more, or wants them again."""

    workflow: Identifier = Field(examples=["mention_escalation"])
    channel: Identifier = Field(examples=["email"])


class Why(Said):
    """Why something is done, for the audit."""

    note: Note = None


NO_REASON: Final = Why()


class CancelByKey(Why):
    """Which runs are stopped: all live ones that bear a key."""

    cancellation_key: Identifier = Field(examples=["doc_789"])


class InboxTokenWanted(Said):
    """For whom a front end's token is, and for how long."""

    recipient_id: Identifier = Field(examples=["user_123"])
    lasts_s: Annotated[int, Field(ge=1, le=MAX_INBOX_TOKEN_S), BeforeValidator(_only_number)] = 900
    with_data: StrictBool = Field(
        default=False,
        description="Whether items come with the data of their trigger: all that a browser may see.",
    )


class Marking(Said):
    """Which items are marked, and how."""

    mark: Mark
    item_ids: Annotated[list[UUID], FailFast()] = Field(min_length=1, max_length=1_000)


class MarkingAll(Said):
    """How all that lies in the inbox is marked, and down from which item."""

    mark: MarkOfAll
    through: UUID | None = Field(None, description="The newest item that was before somebody's eyes.")
    workflow: Identifier | None = None


class StartedRun(BaseModel):
    """A run that a trigger began."""

    recipient_id: str
    run_id: UUID


class TriggerReceipt(BaseModel):
    """What a trigger began; `duplicate`: its idempotency key was known, and nothing was written."""

    runs: list[StartedRun]
    duplicate: bool


class BulkReceipt(BaseModel):
    """The same of many, in their order."""

    receipts: list[TriggerReceipt]


class SignalReceipt(BaseModel):
    """The signal's id; of the first one where its dedupe_key was known."""

    signal_id: UUID


class BulkSignalReceipt(BaseModel):
    """The same of many, in their order."""

    signal_ids: list[UUID]


class Written(BaseModel):
    """A recipient of whom something was written."""

    recipient_id: str


class PreferencesShown(BaseModel):
    """What a recipient wants, as it is known."""

    preferences: Mapping[str, Any]


class InboxToken(BaseModel):
    """A front end's token, and when it expires."""

    token: str
    expires_at: datetime
    tenant_id: str
    recipient_id: str


class Retried(BaseModel):
    """A message that is tried again now, in the place of later."""

    delivery_id: UUID
    run_id: UUID
    attempt_count: int


class Paused(BaseModel):
    """Whether a workflow's runs rest, and how many versions it has."""

    workflow: str
    paused: bool
    versions: int


class Workflow(BaseModel):
    """A registered version of a workflow; `current`: a trigger by its key starts this one."""

    workflow_key: str
    version: int
    digest: str
    activated: bool
    current: bool
    paused_at: datetime | None
    registered_at: datetime


class WorkflowShown(BaseModel):
    """A definition as it is stored, and the JSON Schema of its data, if there is one."""

    workflow_key: str
    version: int
    digest: str
    definition: Any
    data_schema: Mapping[str, Any] | None


class Registered(BaseModel):
    """A definition that is registered; `new`: it was not, before."""

    workflow_key: str
    version: int
    digest: str
    new: bool


class Marked(BaseModel):
    """The items that had not borne the mark."""

    item_ids: list[UUID]


class Problem(BaseModel):
    """What is refused, and why (RFC 9457)."""

    type: str = Field(examples=["urn:chimeway:workflow_run_not_found"])
    title: str
    status: int
    code: str = Field(description="Stable; the end of `type`.", examples=["workflow_run_not_found"])
    detail: str
    field: str | None = None
    hint: str | None = None
    scope: str | None = Field(None, description="Which one is missing.")

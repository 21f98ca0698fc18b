"""The errors that users of the package may meet: one base, a stable `code`, structured details.

The docstring of a class is its message where none is given.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ChimewayError(Exception):
    """Something that Chimeway was asked to do cannot be done."""

    code: ClassVar[str] = "chimeway_error"

    def __init__(self, message: str | None = None, /, **details: Any) -> None:
        """Take a sentence for people and, by name, the facts for programs."""
        self.message = message or (type(self).__doc__ or "").strip()
        self.details: Mapping[str, Any] = details
        super().__init__(self.message)

    def __str__(self) -> str:
        """Code first, so that logs can be searched for it; what would be right, last."""
        hint = self.details.get("hint")
        told = f": {hint}" if isinstance(hint, str) and hint not in self.message else ""
        return f"{self.code}: {self.message}{told}"


class InvalidDefinition(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """The workflow definition has faults."""

    code = "invalid_definition"


class WorkflowDefinitionVersionConflict(ChimewayError):  # noqa: N818
    """This key and version are registered with another content."""

    code = "workflow_definition_version_conflict"


class UnknownWorkflow(ChimewayError):  # noqa: N818
    """No workflow of this key (and version) is registered."""

    code = "unknown_workflow"


class WorkflowRunNotFound(ChimewayError):  # noqa: N818
    """No run has this id in this tenant."""

    code = "workflow_run_not_found"


class RecipientNotFound(ChimewayError):  # noqa: N818
    """Nobody of this id was identified in this tenant."""

    code = "recipient_not_found"


class IdempotencyConflict(ChimewayError):  # noqa: N818
    """The idempotency key was used for another trigger."""

    code = "idempotency_conflict"


class InvalidInput(ChimewayError):  # noqa: N818
    """An argument is not what it must be."""

    code = "invalid_input"


class InvalidDataReference(ChimewayError):  # noqa: N818
    """The trigger's data lacks what the definition refers to."""

    code = "invalid_data_reference"


class NowInFuture(ChimewayError):  # noqa: N818
    """The given `now` is ahead of the database's clock."""

    code = "now_in_future"


class RunBusy(ChimewayError):  # noqa: N818
    """Somebody else holds the run locked; nothing was done."""

    code = "run_busy"


class InvalidSettings(ChimewayError):  # noqa: N818
    """A setting is not what it must be."""

    code = "invalid_settings"


class SchemaMismatch(ChimewayError):  # noqa: N818
    """The database's schema is not one that this version can work on."""

    code = "schema_mismatch"


class DatabaseUnavailable(ChimewayError):  # noqa: N818
    """The database cannot be reached."""

    code = "database_unavailable"


class NotPermitted(ChimewayError):  # noqa: N818
    """The role of this connection may not do this."""

    code = "not_permitted"


class FeedbackRefused(ChimewayError):  # noqa: N818
    """A provider's message does not show that the provider sent it."""

    code = "feedback_refused"


class MissingExtra(ChimewayError, ImportError):  # noqa: N818
    """A package that an extra of chimeway brings is not installed."""

    code = "missing_extra"

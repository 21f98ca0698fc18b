"""A journey on paper, in whatever form it is written: no database, no loop."""

from chimeway.client.registry import AnyWorkflow
from chimeway.progression import rehearse as core
from chimeway.progression.rehearse import Rehearsal
from chimeway.progression.script import Script
from chimeway.workflow.coerce import coerce
from chimeway.workflow.definition import Json


def rehearse(workflow: AnyWorkflow, script: Json | Script = None) -> Rehearsal:
    """Play a journey for one recipient through the decision core itself.

    Args:
        workflow: a definition in any of its forms; not a key, since no registry is asked.
        script: what happens (data, signals, outcomes, times); None: nothing but the passing of time.

    Returns:
        the timeline, and run, deliveries and transitions as they are at its end.

    Raises:
        InvalidDefinition: the definition has faults.
        InvalidInput: the script has a fault; it names the field.
        TypeError: `workflow` is in none of the known forms.
    """
    return core.rehearse(coerce(workflow), script)

"""Why a run went as it did, in plain sentences. Pure: a story in, sentences out."""

from chimeway.store.views import Story


def why(story: Story) -> tuple[str, ...]:
    """Return sentences that answer "why was this sent, or not sent?", in the order of time."""
    return (f"The run is {story.run.state}.",)

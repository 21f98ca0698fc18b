"""What people see who follow a link to unsubscribe: small pages that need nothing but themselves. Pure.

No script, no image, nothing from elsewhere. Forms have no action or a relative one: so they work below
whatever path a proxy puts before ours.
"""

from html import escape
from typing import Final, Literal, NamedTuple, TypeAlias

from chimeway.unsubscribe_tokens import Subscription

State: TypeAlias = Literal["ask", "done", "ask_undo", "undone", "invalid", "later"]
"""ask, ask_undo: nothing is changed yet; done, undone: it is; invalid: no link of ours; later: try again."""


class _Words(NamedTuple):
    title: str
    text: str
    button: str | None = None
    to: Literal["here", "undo", "back"] = "here"


_WORDS: Final[dict[State, _Words]] = {
    "ask": _Words("Unsubscribe", "Stop receiving {what}?", "Unsubscribe"),
    "done": _Words("Unsubscribed", "You will no longer receive {what}.", "Subscribe again", "undo"),
    "ask_undo": _Words("Subscribe again", "Receive {what} again?", "Subscribe again"),
    "undone": _Words("Subscribed again", "You will receive {what} again.", "Unsubscribe", "back"),
    "invalid": _Words("This link does not work", "It is not complete, or it is no longer valid."),
    "later": _Words("Please try again", "This did not work just now. Try again in a moment.", "Try again"),
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ font: 1.125rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 4rem auto; padding: 0 1rem }}
button {{ font: inherit; padding: .5rem 1rem }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
{form}</main>
</body>
</html>
"""


def page(state: State, what: Subscription | None = None, token: str = "") -> str:
    """Return the whole page.

    Args:
        state: what it says.
        what: from what the link unsubscribes; None: the link is none.
        token: of the link, for the way to its undoing and back.
    """
    words = _WORDS[state]
    text = words.text.format(what=_told(what))
    form = ""
    if words.button is not None and what is not None:
        action = {"here": "", "undo": f' action="{token}/undo"', "back": f' action="../{token}"'}[words.to]
        form = f'<form method="post"{action}>\n<button type="submit">{words.button}</button>\n</form>\n'
    return _PAGE.format(title=words.title, text=escape(text), form=form)


def _told(what: Subscription | None) -> str:
    """Say which messages, in the words that there are: a workflow's key and a channel's name."""
    if what is None:
        return "these messages"
    return f"\u201c{what.workflow.replace('_', ' ')}\u201d messages by {what.channel.replace('_', ' ')}"

"""What people see who follow a link to unsubscribe: small pages that need nothing but themselves. Pure.

The template `unsubscribe.html.j2`, in the templates' folder, takes the place of our words; it is given the
`state`, `workflow` and `channel`, and `action`, where the button's form posts to (null: there is no button).

No script, no image, nothing from elsewhere. Forms have no action or a relative one: so they work below
whatever path a proxy puts before ours.
"""

from collections.abc import Iterator
from html import escape
from itertools import product
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from chimeway.render.message import RenderFault
from chimeway.render.templates import UNSUBSCRIBE_PAGE, Templates
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


_SAMPLE: Final = Subscription("tenant", "recipient", "workflow", "email", UUID(int=0))


class Pages:
    """Makes the pages, by the template if there is one."""

    def __init__(self, templates: Templates | None = None) -> None:
        """Take the templates' folder."""
        self._templates = templates or Templates({})

    def faults(self) -> Iterator[str]:
        """Try the template and its variants in every state, and yield what is wrong with them."""
        for language, state in product(("", *self._templates.variants.of(UNSUBSCRIBE_PAGE)), _WORDS):
            made = self._own(state, None if state == "invalid" else _SAMPLE, "token", language)
            if isinstance(made, RenderFault):
                yield made.reason

    def page(
        self, state: State, what: Subscription | None = None, token: str = "", languages: str = ""
    ) -> str:
        """Return the whole page; ours, where the template has a fault.

        Args:
            state: what it says.
            what: from what the link unsubscribes; None: the link is none.
            token: of the link, for the way to its undoing and back.
            languages: that the reader's browser asks for, as in `Accept-Language`.
        """
        own = self._own(state, what, token, languages)
        return own if isinstance(own, str) else _ours(state, what, token)

    def _own(
        self, state: State, what: Subscription | None, token: str, languages: str
    ) -> str | RenderFault | None:
        names = {
            "state": state,
            "workflow": what and what.workflow,
            "channel": what and what.channel,
            "action": _action(state, what, token),
        }
        first = languages.partition(",")[0].partition(";")[0].strip()
        return self._templates.page(UNSUBSCRIBE_PAGE, names, first or None)


def _ours(state: State, what: Subscription | None, token: str) -> str:
    words = _WORDS[state]
    action, form = _action(state, what, token), ""
    if action is not None:
        to = f' action="{action}"' if action else ""
        form = f'<form method="post"{to}>\n<button type="submit">{words.button}</button>\n</form>\n'
    text = words.text.format(what=_told(what))
    return _PAGE.format(title=words.title, text=escape(text), form=form)


def _action(state: State, what: Subscription | None, token: str) -> str | None:
    """Return where the form posts to, from where the page is; empty: to there; None: there is no form."""
    words = _WORDS[state]
    if words.button is None or what is None:
        return None
    return {"here": "", "undo": f"{token}/undo", "back": f"../{token}"}[words.to]


def _told(what: Subscription | None) -> str:
    """Say which messages, in the words that there are: a workflow's key and a channel's name."""
    if what is None:
        return "these messages"
    return f"\u201c{what.workflow.replace('_', ' ')}\u201d messages by {what.channel.replace('_', ' ')}"

"""Templates by locale: which variant a reader gets, for messages, layouts and parts."""

import pytest

from chimeway import RenderContext
from chimeway.render.locales import Variants, tags_of
from chimeway.render.message import Rendered, RenderFault, RenderRecipient, RenderRun, RenderStep
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates

SOURCES = {
    "layouts/base.email.j2": "{% block body %}<p>{% block content %}{% endblock %}</p>"
    "{% include 'parts/foot.j2' %}{% endblock %}",
    "parts/foot.j2": "plain foot",
    "parts/foot.pt.j2": "pe",
    "parts/foot.DE_AT.j2": "Fuß aus Wien",
    "a.mention.email.j2": "{% extends 'layouts/base.email.j2' %}{% block subject %}Hi{% endblock %}"
    "{% block content %}{{ who }}{% endblock %}",
    "a.mention.email.pt.j2": "{% extends 'a.mention.email.j2' %}{% block subject %}Oi{% endblock %}",
    "a.mention.email.pt-BR.j2": "{% extends 'a.mention.email.j2' %}"
    "{% block content %}br {{ super() }}{% endblock %}",
}


def rendered(locale: object) -> Rendered:
    """Render the message for a reader of this locale."""
    made = Templates(SOURCES).render("a.mention", "email", {"who": "<Ada>"}, locale)
    assert isinstance(made, Rendered), made
    return made


@pytest.mark.parametrize(
    ("locale", "tags"),
    [
        ("pt-BR", ("pt-br", "pt")),
        ("PT_br", ("pt-br", "pt")),
        ("zh-Hant-TW", ("zh-hant-tw", "zh-hant", "zh")),
        ("de-x-foo", ("de-x-foo", "de")),
        ("de_DE.UTF-8", ("de-de", "de")),
        ("sr_RS@latin", ("sr-rs", "sr")),
        *((rubbish, ()) for rubbish in (None, "", "C", "POSIX", "../de", "d", "de--AT", "x" * 99, 7, "und")),
    ],
)
def test_what_a_locale_looks_for(locale: object, tags: tuple[str, ...]) -> None:
    """A tag falls back part by part; what is no tag asks for nothing but the plain one."""
    assert tags_of(locale) == tags


@pytest.mark.parametrize(
    ("locale", "subject", "body", "used"),
    [
        (None, "Hi", "<p>&lt;Ada&gt;</p>plain foot", None),
        ("nonsense!", "Hi", "<p>&lt;Ada&gt;</p>plain foot", None),
        ("fr", "Hi", "<p>&lt;Ada&gt;</p>plain foot", None),
        ("de-at", "Hi", "<p>&lt;Ada&gt;</p>Fuß aus Wien", None),
        ("pt", "Oi", "<p>&lt;Ada&gt;</p>pe", "pt"),
        ("pt_PT", "Oi", "<p>&lt;Ada&gt;</p>pe", "pt"),
        ("pt-br", "Oi", "<p>br &lt;Ada&gt;</p>pe", "pt-BR"),
    ],
)
def test_who_gets_which(locale: str | None, subject: str, body: str, used: str | None) -> None:
    """A message, and each layout and part, falls back by itself; a variant builds on the one behind it."""
    made = rendered(locale)
    assert (made.subject, made.body, made.locale) == (subject, body, used)


def test_a_render_key_may_hold_dots() -> None:
    """Names are made of key and channel, never taken apart: a.b on email is not a on b."""
    templates = Templates({"a.b.email.j2": "x", "a.b.email.de.j2": "x", "a.j2": "x"})
    assert templates.name_for("a.b", "email", "de-CH") == "a.b.email.de.j2"
    assert not templates.has("a", "b.email.j2")
    assert not templates.has("a", "email", "de")


def test_only_for_some_locales() -> None:
    """Where only readers of some locales have a template, the fault of others says so."""
    templates = Templates({"k.sms.de.j2": "{% block body %}B{% endblock %}"})
    assert templates.render("k", "sms", {}, "de-AT") == Rendered("", "B", None, "de")
    assert templates.render("k", "sms", {}, "fr") == RenderFault(
        "there is no template k.sms.j2 (only k.sms.de.j2, for readers of these locales)"
    )


def test_two_files_for_one_locale() -> None:
    """Of two the first by name is taken, and the pair is known."""
    variants = Variants(["k.sms.j2", "k.sms.pt_br.j2", "k.sms.pt-BR.j2"])
    assert variants.find("k.sms.j2", ("pt-br",)) == "k.sms.pt-BR.j2"
    assert variants.twice == [("k.sms.pt-BR.j2", "k.sms.pt_br.j2")]


def test_functions_see_the_locale_and_go_with_templates() -> None:
    """A function for every channel stands in for readers whose locale has no template."""
    renderers = Renderers(
        {("k", None): lambda context: f"in {context.recipient.locale}"},
        Templates({"k.sms.de.j2": "{% block body %}auf Deutsch{% endblock %}"}),
    )

    def body(locale: str) -> str:
        context = RenderContext(
            data={},
            recipient=RenderRecipient("ada", locale, None, {}, {}),
            tenant="t",
            run=RenderRun("r", "w", 1),
            step=RenderStep("s"),
        )
        made = renderers.render("k", "sms", context)
        assert isinstance(made, Rendered)
        return made.body

    assert (body("de-CH"), body("fr")) == ("auf Deutsch", "in fr")
    assert renderers.source("k", "sms", "de-CH") == "k.sms.de.j2"

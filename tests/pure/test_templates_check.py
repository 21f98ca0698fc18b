"""What can be seen of templates without data: one table of faults, and what is none."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chimeway import Notify, Workflow, from_data, signal_received
from chimeway.render.check import Checked, Checking, Wanted, check, wanted_by
from chimeway.render.functions import Renderer, RendererKey
from chimeway.render.names import Given
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates
from kit import golden

S, B = "{% block subject %}S{% endblock %}", "{% block body %}{% endblock %}"
GOLDEN = Path(__file__).with_name("templates_check.golden.txt")
NEEDS = "(w version 1, step s)"


class Author(BaseModel):
    """Somebody, in data."""

    name: str
    nick: str | None = None


class Mention(BaseModel):
    """What a mention's data holds."""

    title: str
    author: Author
    note: str = ""
    tags: dict[str, str] = {}


def wanted(
    *keys: str, channel: str = "email", schema: Mapping[str, Any] | None = None, **data: Any
) -> list[Wanted]:
    """Return the messages of a workflow with a step for each render key."""
    steps = [
        Notify("s" if key == "k" else f"s_{key}", channel=channel, render_key=key, data=data) for key in keys
    ]
    refers = [signal_received("read", match={"document": from_data("document_id")})]
    workflow = Workflow(key="w", version=1, steps=steps, stop_conditions=refers)
    return wanted_by(workflow.definition, schema)


def told(
    sources: Mapping[str, str],
    messages: list[Wanted] | None = None,
    functions: Mapping[RendererKey, Renderer] | None = None,
) -> list[str]:
    """Return what a check finds, as it is printed."""
    found = check(
        Renderers(functions or {}, Templates(sources)), wanted("k") if messages is None else messages
    )
    return [one.printed() for one in found.findings]


def body(text: str, **more: str) -> dict[str, str]:
    """Return the sources of one e-mail with this body."""
    return {"k.email.j2": S + "{% block body %}" + text + "{% endblock %}", **more}


def test_nothing_to_say() -> None:
    """Layouts, partials, imports, locales, guards and all the names there are: no finding."""
    sources = {
        "layouts/base.j2": "{% block body %}<p>{% block content %}{{ nobody }}{% endblock %}</p>"
        "{% include 'parts/foot.j2' %}{% endblock %}",
        "parts/foot.j2": "{{ recipient.data.anything }} {{ tenant.upper() }} {{ item }} {{ loop.last }}",
        "parts/foot.de.j2": "{{ recipient.addresses.email }}",
        "parts/words.j2": "{% macro b(x) %}<b>{{ x }}</b>{% endmacro %}",
        "k.email.j2": "{% extends 'layouts/base.j2' %}{% import 'parts/words.j2' as words %}"
        "{% block subject %}{{ title }} {{ run.version }} {{ document_id }} {{ of_the_step.x }}{% endblock %}"
        "{% block content %}{% for item in tags.items() %}{{ loop.index }}{{ item }}{% endfor %}"
        "{{ words.b(author.name) }}{{ author.nick | default('') }}"
        "{% if note is defined %}{{ note }}{% endif %}"
        "{% include 'no.j2' ignore missing %}{% include ['no.j2', 'parts/foot.j2'] %}{% endblock %}",
        "k.email.de.j2": "{% extends 'k.email.j2' %}{% block subject %}{{ super() }}{{ recipient.locale }}"
        "{% endblock %}",
    }
    assert told(sources, wanted("k", schema=Mention.model_json_schema(), of_the_step=1)) == [
        "k.email.j2:1: warning[may_be_missing] 'tags' is optional in the data's schema: give it a default "
        + NEEDS
    ]


CASES: dict[str, Mapping[str, str]] = {
    "no template": {},
    "for some only": {"k.email.de.j2": S + B},
    "no subject": {"k.email.j2": B},
    "no body": {"k.email.j2": S},
    "a required block": {
        "k.email.j2": "{% extends 'b.j2' %}" + S,
        "b.j2": "{% block body required %}{% endblock %}",
    },
    "syntax": {"k.email.j2": "\n{% block body %}{{ "},
    "syntax of a part": body("{% include 'p.j2' %}", **{"p.j2": "{% if %}"}),
    "unknown filter": body("{{ 1 | nicely }}"),
    "unknown filter behind a condition": body("{% if 1 %}{{ 1 | nicely }}{{ 2 is nice }}{% endif %}"),
    "nested too deep": body("{% for i in l %}" * 30 + "{% endfor %}" * 30),
    "unknown include": body("\n{% include 'foot.j2' %}"),
    "unknown includes": body("\n{% include ['a.j2', 'b.j2'] %}"),
    "unknown layout": {"k.email.j2": "{% extends 'base.j2' %}"},
    "unknown in a part": body("{% include 'p.j2' %}", **{"p.j2": "{% import 'm.j2' as m %}"}),
    "extends in a circle": {
        "k.email.j2": "{% extends 'b.j2' %}" + S + B,
        "b.j2": "{% extends 'c.j2' %}",
        "c.j2": "{% extends 'b.j2' %}",
    },
    "extends itself": {"k.email.j2": "{% extends 'k.email.j2' %}" + S + B},
    "includes itself": body("{% include 'p.j2' %}", **{"p.j2": "x{% include 'p.j2' %}"}),
    "typo in recipient": body("{{ recipient.nmae }}"),
    "near an attribute": body("{{ recipient['time_zone'] }}"),
    "typo in run": body("{{ run.id.x }}"),
    "typo in a part": body("{% include 'p.j2' %}", **{"p.j2": "\n\n{{ step.name }}"}),
    "a method for a key": body(
        "{% for i in order.items %}{% endfor %}{{ o['items'] }}{{ o.items() }}{{ o.get('a') }}"
    ),
    "near a name": body("{{ recipent.id }}"),
    "near what the definition refers to": body("{{ documentid }}"),
    "data in an import": body(
        "{% import 'm.j2' as m %}{{ m.x() }}", **{"m.j2": "{% macro x() %}{{ title }}{% endmacro %}"}
    ),
    "nobody's": body("x", **{"other.sms.j2": B, "parts/p.j2": "x"}),
    "two for one locale": {**body("x"), "k.email.pt_br.j2": S + B, "k.email.pt-BR.j2": S + B},
    "a circle with a condition": body(
        "{% include 'p.j2' %}", **{"p.j2": "{% if a %}{% include 'p.j2' %}{% endif %}"}
    ),
    "a block of a wrong name": {
        "k.email.j2": "{% extends 'b.j2' %}{% block content %}{{ self.called() }}{% endblock %}"
        "{% block called %}{% endblock %}\n{% block contnet %}{% block inner %}{% endblock %}{% endblock %}",
        "b.j2": S + "{% block body %}{% block content %}{% endblock %}{% endblock %}",
    },
    "a part's locale that the message has not": body(
        "{% include 'p.j2' %}", **{"p.j2": "x", "p.de.j2": "{{ step.name }}", "p.fr.j2": "x"}
    ),
    "layouts by a condition": {
        "k.email.j2": "{% extends 'b.j2' if a else 'c.j2' %}" + S,
        "b.j2": B,
        "c.j2": B,
    },
    "a name made of data": body("{% include kind ~ '.j2' %}", **{"a.j2": "x", "other.sms.j2": B}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_with_its_place(name: str) -> None:
    """Each fault is told once, with template and line, and for which step it matters."""
    golden.agrees(GOLDEN, name, "\n".join(told(CASES[name])) or "nothing")


@pytest.mark.parametrize(
    "text",
    [
        "{{ titel }}",
        "{{ author.nmae }}",
        "{{ author['name'].x }}",
        "{{ author.nick }}",
        "{{ note }}",
        "{{ note | d }}",
        "{{ tags['x'] if tags is defined }}",
        "{% set titel = title %}{{ titel }}",
        "{{ document_id }}",
    ],
)
def test_names_are_judged_by_the_schema(text: str) -> None:
    """Where the workflow declares what its data holds, a name that is not there is an error."""
    found = told(body(text), wanted("k", schema=Mention.model_json_schema()))
    golden.agrees(GOLDEN, text, "\n".join(found) or "nothing")


def test_an_open_schema_forbids_nothing() -> None:
    """A schema that leaves its object open, or that has alternatives, says nothing against a name."""
    for schema in (
        {"additionalProperties": True, "properties": {}},
        {"anyOf": [{}]},
        {},
        {"$ref": "#/$defs/No"},
    ):
        assert told(body("{{ anything.at.all }}"), wanted("k", schema=schema)) == []


def test_locales_are_compared() -> None:
    """A message without a locale that others have is told of; a language covers its regions."""
    sources = {
        "a.email.j2": S + B, "a.email.de-AT.j2": S + B, "a.email.fr.j2": S + B,
        "b.email.j2": S + B, "b.email.de.j2": S + B,
    }  # fmt: skip
    golden.agrees(GOLDEN, "locales", "\n".join(told(sources, wanted("a", "b"))))


def test_functions_count() -> None:
    """A function makes its messages; the templates behind it, and functions for nothing, are told of."""
    functions: dict[RendererKey, Renderer] = {
        ("k", "email"): lambda _: "",
        ("any", None): lambda _: "",
        ("nobody", "sms"): lambda _: "",
    }
    found = told(body("x"), wanted("k", "any"), functions)
    assert found == [
        "nobody on sms: warning[unused_function] no message is made by this function",
        "k.email.j2: warning[never_used] a function of the app makes this message",
    ]


def test_a_layout_of_a_channel_is_no_locale_of_another() -> None:
    """A `base.sms.j2` beside `base.j2` is for nobody who reads e-mail in the language sms."""
    sources = {
        "k.email.j2": "{% extends 'base.j2' %}" + S,
        "k.sms.j2": "{% extends 'base.sms.j2' %}",
        "base.j2": B,
        "base.sms.j2": "{% block body %}{{ titel }}{% endblock %}",
    }
    schema = Mention.model_json_schema()
    found = told(sources, [*wanted("k", schema=schema), *wanted("k", channel="sms")])
    assert found == []


def test_the_page_for_who_unsubscribes_is_used() -> None:
    """No step sends it, nor its variants, nor what they are made of; another of that name is unused."""
    sources = {
        **body("x"),
        "unsubscribe.html.j2": "{% extends 'page.j2' %}",
        "unsubscribe.html.de.j2": "{% extends 'page.j2' %}",
        "page.j2": "{{ state }}",
        "unsubscribe.email.j2": S + B,
    }
    found = told(sources, wanted("k"))
    assert [line.partition(":")[0] for line in found] == ["unsubscribe.email.j2"]


def test_one_fault_of_many_workflows_is_told_once() -> None:
    """Thousands of definitions are looked through in little time, and a fault is told once for all."""
    many = [Wanted(f"w{n} version 1, step s", "k", "email", Given(frozenset(), None)) for n in range(5_000)]
    began = time.perf_counter()
    found: Checked = check(Renderers({}, Templates(body("{{ recipient.nmae }}"))), many)
    assert time.perf_counter() - began < 2
    (finding,) = found.findings
    assert len(finding.steps) == 5_000
    assert finding.printed().endswith("(w0 version 1, step s; w1 version 1, step s; and 4998 more)")


def test_a_check_that_is_broken_off() -> None:
    """Who has no time for all of it gets what was found so far, and nothing of what seems unused."""
    checking = Checking(Renderers({}, Templates(body("{{ run.x }}", **{"z.sms.j2": B}))), wanted("k"))
    next(checking.each())
    found = checking.result()
    assert ([one.code for one in found.findings], found.complete) == (["unknown_attribute"], False)


def test_what_makes_what() -> None:
    """The answer says of each message what makes it, for which locales, and which names it needs."""
    sources = {
        **body("{{ title }}{{ recipient.id }}{% include 'p.j2' %}"),
        "p.j2": "{{ link }}",
        "k.email.de.j2": S + B,
    }
    (made,) = check(Renderers({}, Templates(sources)), wanted("k")).messages
    assert (made.templates, made.locales) == (("k.email.j2", "k.email.de.j2"), ("de",))
    assert made.names == ("link", "title")

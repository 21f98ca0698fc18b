"""Rendering: messages of templates, escaping by part, and faults that are values."""

import time
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from chimeway.limits import MESSAGE_BYTES
from chimeway.render.html_text import text_from_html
from chimeway.render.message import (
    RenderContext,
    Rendered,
    RenderFault,
    RenderRecipient,
    RenderRun,
    RenderStep,
)
from chimeway.render.templates import Templates

BOTH = "{% block subject %}S{% endblock %}{% block body %}B{% endblock %}"


def in_app(source: str, /, **names: Any) -> Rendered | RenderFault:
    """Render one in-app template."""
    return Templates({"k.in_app.j2": source}).render("k", "in_app", names)


def body(expression: str, /, **names: Any) -> Rendered | RenderFault:
    """Render an in-app template with this body."""
    return in_app(
        "{% block subject %}S{% endblock %}{% block body %}" + expression + "{% endblock %}",
        **names,
    )


def reason(result: Rendered | RenderFault) -> str:
    """Return the fault's reason; a message would be a failure."""
    assert isinstance(result, RenderFault), result
    return result.reason


def test_subject_and_body() -> None:
    """An in-app item has a subject and a body, with the data and our names in them."""
    names = RenderContext(
        data={"document": "Plan", "tenant": "not this one"},
        recipient=RenderRecipient("user_123", "en", None, {}, {"name": "Ada"}),
        tenant="org_456",
        run=RenderRun("r", "mention", 1),
        step=RenderStep("s"),
    ).names()
    source = (
        "{% block subject %}{{ recipient.data.name }}, a mention{% endblock %}"
        "{% block body %}{{ document }} of {{ tenant }} ({{ run.id }}/{{ step.id }}){% endblock %}"
    )
    assert Templates({"m.in_app.j2": source}).render("m", "in_app", names) == Rendered(
        "Ada, a mention", "Plan of org_456 (r/s)", None
    )


def test_email_escapes_html_only() -> None:
    """In e-mail a value is escaped in the body, and stands as it is in subject and text."""
    source = (
        "{% block subject %}{{ who }}{% endblock %}{% block body %}<p>{{ who }}</p>{% endblock %}"
        "{% block text %}{{ who }}{% endblock %}"
    )
    rendered = Templates({"m.email.j2": source}).render("m", "email", {"who": "A & <b>B</b>"})
    assert rendered == Rendered("A & <b>B</b>", "<p>A &amp; &lt;b&gt;B&lt;/b&gt;</p>", "A & <b>B</b>")


def test_email_text_is_made_from_html() -> None:
    """Without a block text the plain part is made of the HTML."""
    source = (
        "{% block subject %}S{% endblock %}{% block body %}<h1>Hello</h1>\n"
        '<p>See <a href="{{ link }}">the\n plan</a>.<br>Bye</p>{% endblock %}'
    )
    rendered = Templates({"m.email.j2": source}).render("m", "email", {"link": "https://x/?a=1&b"})
    assert isinstance(rendered, Rendered)
    assert rendered.text == "Hello\n\nSee the plan (https://x/?a=1&b).\nBye"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>a</li><li>b</li></ul>c", "- a\n- b\n\nc"),
        ("<style>p{}</style><title>t</title><body><div>a</div><div>b</div>", "a\nb"),
        ("a &amp; b &lt;c&gt;&nbsp;d", "a & b <c> d"),
        ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 2\n3"),
        ('<a href="https://x">https://x</a> <a href="mailto:a@b">a@b</a>', "https://x a@b"),
        ('<a href="https://x"><img src="i" alt="logo"></a>', "logo (https://x)"),
        ('<a href="https://x"></a>', "https://x"),
        ("</p></a></style>broken <b>not closed", "broken not closed"),
        ("", ""),
        ("<a title=\"a > b\" href='https://x/?a=1&amp;b'>x</a>", "x (https://x/?a=1&b)"),
        ('<a title="never closed href=y>x</a> z', "x (y) z"),
        ("<A HREF=https://x>X<a href=https://y>Y</a></A>", "X (https://x)Y (https://y)"),
        ("1 < 2 <> 3 <- <!-- no --> 4 <!doctype html><?x?>", "1 < 2 <> 3 <- 4"),
        ("a<!-- never closed <p>b", "a"),
        ("<script>if (a < b) '<p>'</SCRIPT>x<style>never closed", "x"),
        ("a <b", "a <b"),
    ],
)
def test_text_from_html(html: str, text: str) -> None:
    """Blocks become lines, links keep their addresses, markup and styles go."""
    assert text_from_html(html) == text


@pytest.mark.parametrize("piece", ["<", "<a", "</a", "<!--", "<?", "<a '\"><", "<a href=x>y", "&", "<p> \n"])
def test_text_of_rubbish_takes_no_time(piece: str) -> None:
    """Whatever the HTML, its text is made in a time that grows with its length alone."""
    began = time.perf_counter()
    text_from_html(piece * (MESSAGE_BYTES // 8 // len(piece)) + "'")
    assert time.perf_counter() - began < 5


def test_extends_includes_imports() -> None:
    """Templates build on each other among the given sources, blocks in blocks too."""
    sources = {
        "layout.j2": "{% block body %}<p>{% block content %}-{% endblock %}</p>{% endblock %}",
        "sign.j2": "-- {{ tenant }}",
        "macros.j2": "{% macro b(x) %}<b>{{ x }}</b>{% endmacro %}",
        "m.email.j2": '{% extends "layout.j2" %}{% import "macros.j2" as m %}{% set hi = "Hi" %}'
        "{% block subject %}{{ hi }}{% endblock %}"
        '{% block content %}{{ super() }}{{ m.b(who) }}{% include "sign.j2" %}{% endblock %}',
    }
    rendered = Templates(sources).render("m", "email", {"who": "<i>", "tenant": "T&T"})
    assert rendered == Rendered("Hi", "<p>-<b>&lt;i&gt;</b>-- T&amp;T</p>", "-<i>-- T&T")


def test_subject_is_one_line() -> None:
    """Whatever the data, a subject has no second line: no header can be made of it."""
    source = "{% block subject %}\n  A {{ x }}\n{% endblock %}{% block body %}B{% endblock %}"
    rendered = in_app(source, x="b\r\nBcc: all@x")
    assert isinstance(rendered, Rendered)
    assert rendered.subject == "A b Bcc: all@x"


def test_subject_is_optional_on_other_channels() -> None:
    """A text message has no subject."""
    templates = Templates({"k.sms.j2": "{% block body %}B{% endblock %}"})
    assert templates.render("k", "sms", {}) == Rendered("", "B", None)


def test_null_prints_nothing() -> None:
    """Null in the data prints as nothing; the word None is for no reader."""
    assert body("[{{ x }}]", x=None) == Rendered("S", "[]", None)


def test_fault_missing_template() -> None:
    """A key without a template on this channel is a fault."""
    templates = Templates({"k.email.j2": BOTH})
    assert templates.has("k", "email")
    assert not templates.has("k", "in_app")
    assert reason(templates.render("k", "in_app", {})) == "there is no template k.in_app.j2"


def test_fault_missing_block() -> None:
    """A template without body, or without the subject that its channel needs, is a fault."""
    assert reason(in_app("{% block subject %}S{% endblock %}")) == "k.in_app.j2 has no block body"
    assert reason(in_app("{% block body %}S{% endblock %}")) == "k.in_app.j2 has no block subject"


def test_fault_missing_part() -> None:
    """An include that is not among the sources is named."""
    assert reason(body('{% include "x.j2" %}')) == "k.in_app.j2 line 1: needs x.j2, which is not there"


def test_fault_undefined_name_with_its_line() -> None:
    """What is not defined is a fault with template and line, in attributes too."""
    assert reason(body("\n\n{{ nobody }}")) == "k.in_app.j2 line 3: 'nobody' is undefined"
    assert "has no attribute 'age'" in reason(body("{{ recipient.age }}", recipient={"id": 1}))


def test_fault_syntax() -> None:
    """Bad syntax is a fault with its line, when rendered and when all are looked through."""
    templates = Templates({"k.in_app.j2": "\n{% block body %}{{ ", "good.j2": "x"})
    assert reason(templates.render("k", "in_app", {})).startswith("k.in_app.j2 line 2: ")
    (fault,) = templates.faults()
    assert fault.reason.startswith("k.in_app.j2 line 2: ")


def test_fault_does_not_quote_data() -> None:
    """Python's own errors are named by kind: their texts may hold what is in the data."""
    text = reason(body("{{ secret + 1 }}", secret="hunter2"))
    assert text == "k.in_app.j2 line 1: TypeError"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(1000) %}{% for c in l if false %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{{ range(99999) | sum }}{% endfor %}",
        "{% macro m(n) %}{{ m(n - 1) ~ m(n - 1) if n else '' }}{% endmacro %}{{ m(30) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ range(10000000) | list }}",
        "{{ 'x' * 1000000000 }}",
        "{{ l * 1000000000 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{% for a in range(1000) %}{{ 'x' * 10000 }}{% endfor %}",
        "{{ lipsum() }}",
        "{{ l | random }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ l.append(1) }}",
        "{{ 1 // 0 }}",
    ],
)
def test_bad_templates_are_faults(source: str) -> None:
    """Loops without end in sight, giant values, chance and ways out of the sandbox: all faults."""
    assert reason(body(source, l=list(range(100))))


def test_ordinary_loops_pass() -> None:
    """The bounds leave ordinary templates alone, render after render."""
    for _ in range(30):
        rendered = body("{% for x in range(5000) if x % 2 %}.{% endfor %}{{ 3000 * 3000 }}")
        assert rendered == Rendered("S", "." * 2500 + "9000000", None)


def test_fault_too_large() -> None:
    """A message over the bound is a fault, counted in bytes."""
    assert "bytes" in reason(body("{{ x }}", x="x" * (MESSAGE_BYTES + 1)))
    assert "bytes" in reason(body("{{ x }}", x="ä" * (MESSAGE_BYTES // 2 + 1)))
    assert isinstance(body("{{ x }}", x="x" * (MESSAGE_BYTES - 1)), Rendered)


def test_fault_unstorable() -> None:
    """What no database or provider takes is a fault here, where it stops nothing else."""
    assert reason(body("{{ x }}", x="a\0b")) == "k.in_app.j2 gives a NUL character"
    assert reason(body("{{ x }}", x="\ud800")).endswith("UnicodeEncodeError")


def test_same_in_same_out() -> None:
    """Rendering changes neither the templates nor the names, and parts cannot be changed."""
    templates = Templates({"k.in_app.j2": BOTH + "{% set x = 2 %}"})
    names = {"x": 1}
    first = templates.render("k", "in_app", names)
    assert templates.render("k", "in_app", names) == first
    assert names == {"x": 1}
    with pytest.raises(FrozenInstanceError):
        first.body = ""  # type: ignore[union-attr,misc]  # that is the point

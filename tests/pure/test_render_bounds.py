"""What templates cannot do: fill the memory, run for ever, get out, or keep something for the next reader."""

import sys
import time
from typing import Any

import pytest

from chimeway.render.message import Rendered, RenderFault
from chimeway.render.templates import Templates

_MILLION = "('x' * 1000000)"
_GROWS = "{% set ns = namespace(x=X) %}{% for i in range(60) %}{% set ns.x = MORE %}{% endfor %}{{ ns.x }}"


def rendered(body: str, /, **names: Any) -> Rendered | RenderFault:
    """Render an in-app template with this body, next to a part that includes itself."""
    source = "{% block subject %}S{% endblock %}{% block body %}" + body + "{% endblock %}"
    sources = {
        "k.in_app.j2": source,
        "self.j2": "{% include 'self.j2' %}",
        "twice.j2": "{% if n %}{% with n = n - 1 %}{% include 'twice.j2' %}{% include 'twice.j2' %}"
        "{% endwith %}{% endif %}",
        "turn.j2": "{% extends 'back.j2' %}",
        "back.j2": "{% extends 'turn.j2' %}",
        "imports.j2": "{% import 'imports.j2' as i %}",
    }
    return Templates(sources).render("k", "in_app", {"n": 30, "l": list(range(100)), **names})


def reason(body: str) -> str:
    """Return why this body cannot be rendered; it must not take long to find out."""
    began = time.perf_counter()
    made = rendered(body)
    assert isinstance(made, RenderFault), str(made)[:200]
    assert time.perf_counter() - began < 10
    return made.reason


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{% include 'self.j2' %}", "nest too deep"),
        ("{% include 'turn.j2' %}", "nest too deep"),
        ("{% include 'imports.j2' %}", "nest too deep"),
        ("{{ self.body() }}", "nest too deep"),
        ("{% include 'twice.j2' %}", "turns"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nest too deep"),
        ("{% for x in l recursive %}{{ loop(l) }}{% endfor %}", "nest too deep"),
        ("{% for i in l %}" * 30 + "{% endfor %}" * 30, "SyntaxError"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nest too deep"),
        ("{% if 1 %}" * 500 + "{% endif %}" * 500, "nest too deep"),
    ],
)
def test_what_comes_to_itself_is_a_fault(body: str, why: str) -> None:
    """Cycles of includes, extends, imports, macros and blocks end as faults, and so does deep nesting."""
    assert why in reason(body)


@pytest.mark.parametrize(
    "body",
    [
        _GROWS.replace("X", "'x'").replace("MORE", "ns.x ~ ns.x"),
        _GROWS.replace("X", "'x'").replace("MORE", "ns.x + ns.x"),
        _GROWS.replace("X", "99999").replace("MORE", "ns.x * ns.x"),
        _GROWS.replace("X", "[1]").replace("MORE", "[ns.x, ns.x]"),
        _GROWS.replace("X", "[1]").replace("MORE", "dict(a=ns.x, b=ns.x)"),
        "{% set x = " + _MILLION + " %}{% set y %}{% for i in range(9999) %}{{ x }}{% endfor %}{% endset %}",
        "{% set y %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endset %}",
        "{{ range(9999) | map('center', 1000000) | list | length }}",
        "{{ ([" + _MILLION + "] * 100000) | join | length }}",
        "{{ ''.join([" + _MILLION + "] * 100000) | length }}",
        "{{ " + _MILLION + " | replace('x', 'y' * 1000) | length }}",
        "{{ " + _MILLION + ".replace('x', 'y' * 1000) | length }}",
        "{{ ([[1]] * 100000) | sum(start=[]) | length }}",
        "{% set x = " + _MILLION + " %}{% for i in range(30000) %}{{ x | wordcount }}{% endfor %}",
        "{% set x = " + _MILLION + " %}{% for i in range(30000) %}{{ x.count('y') }}{% endfor %}",
    ],
)
def test_what_grows_is_stopped(body: str) -> None:
    """What is made on the way to a message is counted, also where it is not written."""
    reason(body)


@pytest.mark.parametrize(
    "body",
    [
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'.zfill(1000000000) }}",
        "{{ '\t'.expandtabs(1000000000) }}",
        "{{ 'x\ny' | indent(1000000000) }}",
        "{{ [1] | batch(1000000000, 'x') | list }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%.1000000000f' | format(1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 1000000000) }}",
        "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
        "{{ (1).to_bytes(1000000000, 'big') }}",
        "{{ 'x'.encode() }}",
    ],
)
def test_what_would_be_wide_is_refused_before_it_is_made(body: str) -> None:
    """Paddings and formats of any width are faults at once."""
    reason(body)


@pytest.mark.parametrize(
    "body",
    [
        "{{ '{0.__class__}'.format(1) }}",  # CVE-2016-10745
        "{{ '{a.__class__}'.format_map({'a': 1}) }}",  # CVE-2019-10906
        "{% set m = '{0.__class__}'.format %}{{ m(1) }}",  # CVE-2024-56326
        "{{ ('{0.__class__}' | attr('format'))(1) }}",  # CVE-2025-27516
        "{{ {'a onload=x': 'y'} | xmlattr }}",  # CVE-2024-22195
        "{{ {'a/onload=x': 'y'} | xmlattr }}",  # CVE-2024-34064
        "{{ '' | attr('__class__') }}",
        "{{ l['__class__'] }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{% macro m() %}{% endmacro %}{{ m._environment }}",
        "{% for i in l %}{{ loop._iterable }}{% endfor %}",
        "{{ (l | map('upper')).gi_frame }}",
        "{{ l.append(1) }}",
        "{{ {}.update(a=1) }}",
    ],
)
def test_known_ways_out_are_closed(body: str) -> None:
    """What was once a way out of Jinja2's sandbox is a fault."""
    reason(body)


@pytest.mark.parametrize(
    "body",
    [
        "{{ l | map('string') }}",
        "{{ ''.upper }}",
        "{% macro m() %}{% endmacro %}{{ m }}",
        "{{ cycler(1) }}",
    ],
)
def test_what_has_no_text_is_a_fault(body: str) -> None:
    """No reader gets Python's name of a thing, with an address that is another one each time."""
    assert "cannot be written" in reason(body)


def test_a_slow_pattern_is_none() -> None:
    """Filters that read a text of data do so in a time that grows with its length (CVE-2020-28493)."""
    began = time.perf_counter()
    rendered("{{ x | urlize }}{{ x | striptags }}{{ x | wordwrap(5) }}", x="a@<!--" * 10_000)
    assert time.perf_counter() - began < 5


def test_nothing_is_kept_for_the_next_reader() -> None:
    """What an imported macro counts begins anew in each message and in each part of it."""
    sources = {
        "count.j2": "{% set ns = namespace(n=0) %}"
        "{% macro next() %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{% endmacro %}",
        "k.in_app.j2": "{% import 'count.j2' as count %}{% set sum = namespace(of=0) %}"
        "{% block subject %}{{ count.next() }}{{ count.next() }}{% endblock %}"
        "{% block body %}{% for i in l %}{% set sum.of = sum.of + i %}{% endfor %}"
        "{{ sum.of }} {{ count.next() }}{% endblock %}",
    }
    templates = Templates(sources)
    for _ in range(2):
        assert templates.render("k", "in_app", {"l": [1, 2, 3]}) == Rendered("12", "6 1", None)


def test_blocks_in_an_include_are_written_where_they_stand() -> None:
    """Only a message's own blocks are asked for; a layout's required block is one that is missing."""
    sources = {
        "part.j2": "<{% block inner %}i{% endblock %}>",
        "base.j2": "{% block body required %}{% endblock %}",
        "k.sms.j2": "{% block body %}{% include 'part.j2' %}{% endblock %}",
        "less.sms.j2": "{% extends 'base.j2' %}",
        "more.sms.j2": "{% extends 'base.j2' %}{% block body %}B{% endblock %}",
    }
    templates = Templates(sources)
    assert templates.render("k", "sms", {}) == Rendered("", "<i>", None)
    assert templates.render("more", "sms", {}) == Rendered("", "B", None)
    assert templates.render("less", "sms", {}) == RenderFault("less.sms.j2 has no block body")


@pytest.mark.parametrize(("name", "most"), [("plain", 60), ("set", 80), ("derived", 110)])
def test_a_small_message_costs_few_calls(name: str, most: int) -> None:
    """In-app messages are made within decisions: bounds and locales must not be what takes the time."""
    blocks = "{% block subject %}{{ by }} wrote{% endblock %}{% block body %}{{ title }}{% endblock %}"
    sources = {
        "plain.in_app.j2": blocks,
        "set.in_app.j2": "{% set by = by %}" + blocks,
        "derived.in_app.j2": "{% extends 'plain.in_app.j2' %}{% block body %}{{ super() }}!{% endblock %}",
    }
    templates = Templates(sources)
    calls: list[str] = []
    for profile in (None, lambda _frame, event, _of: calls.append(event)):  # compiled first, then counted
        sys.setprofile(profile)
        made = templates.render(name, "in_app", {"by": "Eve", "title": "Plans"}, "pt-BR")
        sys.setprofile(None)
        assert isinstance(made, Rendered)
    assert calls.count("call") <= most, calls.count("call")


def test_a_fault_quotes_no_key_or_name_that_is_data() -> None:
    """A key or a template's name that data brought is not in the fault."""
    asked = {"price": {}, "plan": "hunter2", "kind": "hunter3"}
    for body in ("{{ price[plan] }}", "{% include kind ~ '.j2' %}"):
        made = rendered(body, **asked)
        assert isinstance(made, RenderFault)
        assert "made of data" in made.reason
        assert "hunter" not in made.reason


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Europe/Berlin", "2026-03-03 00:30, 03.03."),
        ("America/New_York", "2026-03-02 18:30, 02.03."),
        *(
            (zone, "2026-03-02 23:30, 02.03.")
            for zone in (None, "", "Europe", "../../etc/passwd", "No/Where")
        ),
    ],
)
def test_local_time(zone: str | None, told: str) -> None:
    """An instant is told by the reader's clock; by UTC where no zone is known."""
    body = "{{ at | local_time }}, {{ at | local_time('%d.%m.') }}{{ none | local_time }}"
    made = rendered(body, at="2026-03-02T23:30:00Z", recipient={"timezone": zone})
    assert made == Rendered("S", told, None)


@pytest.mark.parametrize(
    "body", ["{{ l | local_time }}", "{{ 'today' | local_time }}", "{{ t | local_time('%c') }}"]
)
def test_local_time_of_no_instant(body: str) -> None:
    """What is no instant, and a format with words in it, are faults."""
    assert "local_time" in reason(body.replace("t |", "'2026-03-02T23:30:00Z' |"))

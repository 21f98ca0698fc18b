"""`chimeway render` and `chimeway templates check`, and what a node says of its templates at its start."""

import json
from pathlib import Path

import pytest

from chimeway.cli.main import COMMANDS
from kit import golden
from kit.command import inside
from kit.daemon import running_daemon
from kit.home import GUIDE, TEMPLATES, email, home, in_app, workflow

GOLDEN = Path(__file__).with_name("cli_templates.golden.txt")
SOURCES = {
    "layouts/base.email.j2": "{% block body %}<p>{% block content %}{% endblock %}</p>\n"
    "{% include 'parts/foot.j2' %}{% endblock %}\n",
    "parts/foot.j2": "<small>for {{ recipient.id }}</small>\n",
    "parts/foot.de.j2": "<small>für {{ recipient.id }}</small>\n",
    "mention_email.email.j2": '{% extends "layouts/base.email.j2" %}\n'
    "{% block subject %}You were mentioned in {{ title }}{% endblock %}\n"
    "{% block content %}Hello {{ recipient.data.name | default(recipient.id) }}, see {{ title }}"
    "{% endblock %}\n",
    "mention_email.email.de.j2": '{% extends "mention_email.email.j2" %}\n'
    "{% block subject %}Du wurdest in {{ title }} erwähnt{% endblock %}\n",
}
APP = """
from pydantic import BaseModel
from chimeway import App, Content, Notify, Workflow

class Data(BaseModel):
    title: str

app = App(workflows=[Workflow(key="w", version=1, data=Data, steps=[
    Notify("a", channel="email", render_key="mention_email"),
    Notify("b", channel="sms", render_key="short"),
])])

@app.render("short")
def short(context):
    return f"{context.data['title']} in {context.recipient.locale}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with templates, workflows and an app."""
    for name, text in SOURCES.items():
        path = tmp_path / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "mention.yaml").write_text(GUIDE)
    (tmp_path / "shop_of_templates.py").write_text(APP)
    (tmp_path / "ada.json").write_text(
        json.dumps({"id": "ada", "locale": "de-AT", "data": {"name": "<Ada>"}})
    )
    return tmp_path


async def test_render_shows_every_part(folder: Path) -> None:
    """Subject, text and body, what they are made by, and for which locale."""
    base = ("render", "mention_email", "--channel", "email", "--templates", "templates")
    told = await inside(*base, "--data", '{"title": "Plan & more"}', cwd=folder)
    assert told.code == 0, told.err
    golden.agrees(GOLDEN, "render", told.out)
    told = await inside(
        *base, "--data", "-", "--recipient", "@ada.json", cwd=folder, stdin='{"title": "Plan"}'
    )
    golden.agrees(GOLDEN, "render for a recipient", told.out)
    told = await inside(
        *base, "--data", '{"title": "P"}', "--recipient", "@ada.json", "--locale", "fr", "--json", cwd=folder
    )
    golden.agrees(GOLDEN, "render as JSON, another locale", told.out)
    told = await inside(*base, "--data", '{"title": "P"}', "--html", cwd=folder)
    assert told.out == "<p>Hello recipient, see P</p>\n<small>for recipient</small>\n"
    told = await inside(*base, "--data", '{"title": "P"}', "--text", cwd=folder)
    assert told.out == "Hello recipient, see P\n\nfor recipient\n"


async def test_render_by_a_function(folder: Path) -> None:
    """A function of the app makes the message as on a node, with the reader's locale."""
    told = await inside(
        "render", "short", "--channel", "sms", "--app", "shop_of_templates:app", "--data", '{"title": "P"}',
        "--locale", "pt-BR", cwd=folder,
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "made by  short\nlocale   -\nsubject  -\n\nbody\n  P in pt-BR\n" in told.out


async def test_render_tells_a_fault_with_its_place(folder: Path) -> None:
    """What a template needs and is not given is named with template and line; exit 1."""
    base = ("--channel", "email", "--templates", "templates")
    told = await inside("render", "mention_email", *base, cwd=folder)
    assert (told.code, told.out) == (1, "")
    assert told.err == "error: mention_email.email.j2 line 3: 'title' is undefined\n"
    told = await inside("render", "mention_email", *base, "--json", cwd=folder)
    assert told.code == 1
    assert told.json["fault"] == "mention_email.email.j2 line 3: 'title' is undefined"
    told = await inside("render", "mention", *base, cwd=folder)
    assert told.err == "error: there is no template mention.email.j2, and no renderer of mention\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--data", "[1]"), "--data is a list of 1"),
        (("--data", "{"), "--data: line 1"),
        (("--recipient", '{"nmae": "x"}'), "--recipient has 'nmae'"),
        (("--recipient", '{"id": 7}'), "--recipient's id is 7"),
        (("--data", "-", "--recipient", "-"), "cannot both be read from stdin"),
        (("--html", "--json"), "give one"),
        (("--templates", "nowhere"), "--templates: nowhere is no folder"),
    ],
)
async def test_render_refuses_what_is_no_argument(folder: Path, options: tuple[str, ...], told: str) -> None:
    """What is given wrongly is named, and nothing is rendered."""
    answer = await inside("render", "mention_email", "--channel", "email", *options, cwd=folder)
    assert answer.code in {2, 3}
    assert told in " ".join(answer.err.replace("│", " ").split())


async def test_check_of_files(folder: Path) -> None:
    """Without a database: what is missing, with its step, and an exit code."""
    told = await inside(
        "templates", "check", "--templates", "templates", "--workflows", "workflows", cwd=folder
    )
    assert told.code == 1
    golden.agrees(GOLDEN, "check of files", told.out)
    for name, text in TEMPLATES.items():
        (folder / "templates" / name).write_text(text)
    told = await inside(
        "templates", "check", "--templates", "templates", "--workflows", "workflows", cwd=folder
    )
    assert told.code == 0
    golden.agrees(GOLDEN, "check of files, warnings only", told.out)


async def test_workflow_check_looks_at_templates_too(folder: Path) -> None:
    """A definition is checked with its messages; templates that others may use are no matter here."""
    check = ("workflow", "check", "workflows/mention.yaml", "--templates", "templates")
    told = await inside(*check, cwd=folder)
    assert told.code == 1
    golden.agrees(GOLDEN, "workflow check with templates", told.out)
    told = await inside(*check, "--json", cwd=folder)
    assert [one["code"] for one in told.json["templates"]] == ["no_template"]
    assert (told.json["errors"], told.json["warnings"]) == (1, 0)


async def test_check_of_an_app(folder: Path) -> None:
    """An app's functions and models count; a name that no model has is an error."""
    path = folder / "templates" / "mention_email.email.de.j2"
    path.write_text(path.read_text().replace("title", "titel"))
    options = ("templates", "check", "--templates", "templates", "--app", "shop_of_templates:app")
    told = await inside(*options, "--json", cwd=folder)
    assert told.code == 1
    golden.agrees(GOLDEN, "check of an app, as JSON", told.out)


async def test_check_of_what_is_registered(folder: Path, database_url: str) -> None:
    """Current versions count, and those with live runs; where nothing is named the database is asked."""
    old = workflow(in_app(), email(), key="mention_escalation")
    old["steps"][0]["action"]["render_key"] = "old_notification"
    for version, definition in ((1, old), (2, workflow(in_app(), key="mention_escalation"))):
        (folder / "one.json").write_text(json.dumps(definition | {"version": version}))
        assert (await inside("workflow", "register", "one.json", url=database_url, cwd=folder)).code == 0
        if version == 1:
            await inside("trigger", "mention_escalation", "--recipient", "ada", url=database_url, cwd=folder)
    told = await inside("templates", "check", "--templates", "templates", url=database_url, cwd=folder)
    assert told.code == 1
    golden.agrees(GOLDEN, "check of what is registered", told.out)


async def test_check_of_nothing(tmp_path: Path, database_url: str) -> None:
    """Neither workflows nor templates: nothing is wrong."""
    told = await inside("templates", "check", url=database_url, cwd=tmp_path)
    assert (told.code, told.out) == (0, "0 messages, 0 templates: 0 errors, 0 warnings\n")
    told = await inside("templates", "check", "--workflows", "nowhere", cwd=tmp_path)
    assert (told.code, "--workflows: nowhere is not there" in told.err) == (2, True)


async def test_a_node_tells_at_its_start_and_works(database_url: str, tmp_path: Path) -> None:
    """What keeps a message from being made, or from going out, is logged; the node serves all the same."""
    faulty = {**TEMPLATES, "mention_email.email.j2": "{% block subject %}{{ recipient.nmae }}{% endblock %}"}
    async with running_daemon(database_url, home(tmp_path, GUIDE, templates=faulty)) as daemon:
        told = {(line["template"], line["line"], line["code"]) for line in daemon.seen("template.fault")}
        assert told == {
            ("mention_email.email.j2", 1, "unknown_attribute"),
            ("mention_email.email.j2", None, "no_block"),
        }
        (checked,) = daemon.seen("template.checked")
        assert (checked["workflows"], checked["errors"], checked["complete"]) == (1, 2, True)
        assert [line["channel"] for line in daemon.seen("channel.missing")] == ["email"]


def test_the_commands_are_in_the_list() -> None:
    """Both stand in the list of commands."""
    assert {"render", "templates"} <= COMMANDS.keys()

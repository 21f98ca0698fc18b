"""A program that hosts a node and makes traces of its own: it triggers in a span, and prints all spans."""

import asyncio
import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import chimeway
from chimeway import Chimeway, Message, Notify, Sent, Workflow

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

told = Workflow(key="told", version=1, steps=[Notify("note", channel="note", render_key="note")])
app = chimeway.App(workflows=[told])
seen: list[str] = []


@app.channel("note", needs_address=False)
async def note(_message: Message) -> Sent:
    """Look whose span is current while it sends."""
    seen.append(f"{trace.get_current_span().get_span_context().span_id:016x}")
    return Sent()


@app.render("note")
def render(_context: object) -> str:
    """Say nothing of interest."""
    return "hello"


async def main(url: str) -> None:
    """Trigger in a span, and wait until the run has ended and its spans are there."""
    async with Chimeway.connect(url) as client, app.running(url):
        with trace.get_tracer("host").start_as_current_span("the request"):
            receipt = await client.trigger(told, recipients=["ada"])
        while (await client.get_run(receipt.run_ids[0])).state != "completed":  # noqa: ASYNC110  (rows say so)
            await asyncio.sleep(0.02)
    print(json.dumps([shown(span) for span in exporter.get_finished_spans()]))


def shown(span: object) -> dict[str, object]:
    """Return of a span what the test asks for."""
    own, parent = span.context, span.parent  # type: ignore[attr-defined]
    return {
        "name": span.name,  # type: ignore[attr-defined]
        "trace": f"{own.trace_id:032x}",
        "id": f"{own.span_id:016x}",
        "parent": None if parent is None else f"{parent.span_id:016x}",
        "seen_by_channel": seen[0],
    }


asyncio.run(main(sys.argv[1]))

"""What stands beside the metrics: the dashboard is what its script writes; the scan of PromQL finds names."""

import json

from observed import dashboard
from observed.promql import Named, named_in


def test_the_dashboard_is_what_its_script_writes() -> None:
    """To change it, change the script: `python -m tests.observed.dashboard`."""
    assert dashboard.WHERE.read_text("utf-8") == dashboard.text()


def test_no_two_panels_stand_in_one_place() -> None:
    """Each has an id of its own, a title, and room."""
    panels = json.loads(dashboard.text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert panel["title"]
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_scan_finds_names_and_labels() -> None:
    """Of selectors, of what is grouped by, and nothing of functions."""
    found = named_in(
        'max by (channel) (rate(chimeway_x_total{kind="a", of!="b", job="chimeway"}[5m])) > up and chimeway_y'
    )
    assert found == [
        Named("chimeway_x_total", {"kind": "a", "job": "chimeway"}, {"kind", "of", "channel"}),
        Named("up", {}, {"channel"}),
        Named("chimeway_y", {}, {"channel"}),
    ]

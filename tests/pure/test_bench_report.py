"""What benches say of their values: intervals, ratios, verdicts, tables, plots, pages. No bench is played."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bench.frame import Figure, Given, Ratio, Result, Target, report, tables
from bench.frame.intervals import confidence, percentile, spread
from bench.frame.meters import parse_stat, tree_of
from bench.frame.pairs import order
from bench.frame.plots import svg, ticks
from bench.frame.result import from_json, to_json
from bench.frame.steadiness import Steadiness, probe, steadiness, windows
from bench.frame.verdicts import judged
from bench.frame.words import number

OURS = [10.0, 11.0, 9.0, 30.0, 10.5, 9.5, 10.2]
FLOOR = [5.0, 5.5, 4.0, 5.1, 5.2, 4.9, 5.0]


def a_result(*ratios: Ratio, targets: tuple[Target, ...] = ()) -> Result:
    """Return seven pairs of two sides."""
    ours, floor = [{"p99": each, "woken": 7.0} for each in OURS], [{"p99": each} for each in FLOOR]
    rounds = {"ours": ours, "the floor": floor}
    figures = (Figure("p99", "ms", "lower"), Figure("woken", ""))
    about = {"notes": ("A note.",), "machine": {"measured": "2026-11-27", "cores": "2"}, "took_s": 12.0}
    settings = {"fsync": "on", "shared_preload_libraries": ""}
    return Result("B3", "Wakes", "How late.", figures, ratios, targets, rounds, settings=settings, **about)


def test_seven_values_hold_the_median_between_the_least_and_the_most() -> None:
    """In 126 of 128 samples; from nine values on the extremes no longer count."""
    found = spread(OURS)
    assert (found.median, found.low, found.high) == (10.2, 9.0, 30.0)
    assert found.confidence == pytest.approx(1 - 2 / 128)
    nine = spread([float(n) for n in range(1, 10)])
    assert (nine.low, nine.high, nine.confidence) == (2.0, 8.0, pytest.approx(0.961, abs=0.001))


def test_few_values_say_how_little_sure_they_are() -> None:
    """One value is no interval at all; two hold the median in half of all samples."""
    assert spread([3.0]).confidence == 0.0
    assert spread([3.0, 4.0]).confidence == 0.5
    assert confidence(5, 1) == pytest.approx(0.9375)


def test_percentiles_are_values_that_were_measured() -> None:
    """The nearest rank: half of four do not exceed the second."""
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, each) for each in (0, 25, 50, 51, 99, 100)] == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    hundred = [float(each) for each in range(1, 101)]
    assert (percentile(hundred, 99), percentile(hundred, 99.1)) == (99.0, 100.0)


def test_a_ratio_is_that_of_each_pair() -> None:
    """Not of the medians; a pair in which one side has no figure is left out."""
    ratio = Ratio("p99", of="ours", to="the floor", target=3.0)
    (found,) = judged(a_result(ratio))
    assert found.found is not None
    assert found.found.median == pytest.approx(10.0 / 5.0, abs=0.1)
    assert found.found.high == pytest.approx(30.0 / 5.1)
    assert (found.target, found.verdict) == ("≤ 3x", "reached, by the median")
    assert a_result().ratios_of(Ratio("woken", of="ours", to="the floor")) == []


def test_the_interval_says_how_surely_a_target_was_reached() -> None:
    """Reached and missed, surely or by the median; not asked where the condition does not hold."""
    targets = (
        Target("p99", "ours", at_most=40),
        Target("p99", "ours", at_most=10),
        Target("p99", "the floor", at_least=5.3),
        Target("p99", "the floor", at_least=6),
        Target("p99", "ours", at_most=15, where=Given("p99", "the floor", at_most=5)),
        Target("p99", "ours", at_most=15, where=Given("p99", "the floor", at_most=4.9)),
        Target("p99", "theirs", at_most=15),
    )
    found = list(judged(a_result(targets=targets)))
    assert [each.verdict for each in found] == [
        "reached", "missed, by the median", "missed, by the median", "missed", "reached, by the median",
        "not asked", "not measured",
    ]  # fmt: skip
    assert found[4].target == "≤ 15 ms where p99 of the floor ≤ 5 ms"


def test_sides_take_turns_at_coming_first() -> None:
    """Forwards, backwards, forwards."""
    assert [order(["a", "b", "c"], pair) for pair in range(2)] == [["a", "b", "c"], ["c", "b", "a"]]


def test_a_result_survives_its_file() -> None:
    """Written and read, it is the same; and a round is a line, so that two files compare."""
    targets = (Target("p99", "ours", at_most=1, where=Given("p99", "the floor", 2)), Target("p99", "ours"))
    result = a_result(Ratio("p99", "ours", "the floor"), targets=targets)
    text = to_json(result)
    assert from_json(text) == result
    assert '   {"p99": 10.0, "woken": 7.0},\n' in text


def test_a_table_says_what_was_found() -> None:
    """Medians and intervals, ratios with what was asked, and how sure all of it is."""
    result = a_result(Ratio("p99", "ours", "the floor", 1.0))
    assert list(tables.markdown(tables.figure_rows(result))) == [
        "| side | p99, ms | woken |",
        "| --- | ---: | ---: |",
        "| ours | 10.2 (9 to 30) | 7 (7 to 7) |",
        "| the floor | 5 (4 to 5.50) | - |",
    ]
    assert tables.judged_rows(result)[1] == ["p99: ours / the floor", "2.02x (1.94 to 5.88)", "≤ 1x", "no"]
    assert "98.4 %" in tables.how_sure(result)
    assert "the floor" in "\n".join(tables.told(result))


def test_the_pages_are_the_same_for_the_same_results(tmp_path: Path) -> None:
    """Hand-written words of the index stay, and a second writing changes nothing."""
    (tmp_path / "index.md").write_text(f"# Ours\n\nWords.\n\n{report.BEGIN}\nold\n{report.END}\n\nMore.\n")
    report.keep(a_result(Ratio("p99", "ours", "the floor", 1.0), Ratio("p99", "the floor", "ours")), tmp_path)
    report.write(tmp_path)
    first = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    report.write(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == first
    assert set(first) == {"index.md", "b3.md", "b3.svg"}
    index = first["index.md"]
    assert index.startswith("# Ours\n\nWords.\n")
    assert index.endswith("\n\nMore.\n")
    assert "old" not in index
    assert index.count("ours / the floor") == 1
    assert "the floor / ours" not in index, "nothing was asked of it"
    assert "`fsync=on`" in first["b3.md"]
    assert "shared_preload_libraries" not in first["b3.md"]


def test_a_stall_of_the_machine_shows_in_its_windows() -> None:
    """Means of ten milliseconds each, compared with the least of them; a turn counts where it began."""
    turns = [(0.000, 0.004), (0.004, 0.006), (0.010, 0.010), (0.020, 0.100), (0.120, 0.005)]
    assert windows(turns) == pytest.approx([0.005, 0.010, 0.100, 0.005])
    assert steadiness(windows(turns)) == Steadiness(p50=1.0, p99=20.0, worst=20.0)


def test_the_machine_is_probed_for_as_long_as_was_said() -> None:
    """By a clock that stalls once: 30 ms of turns of a millisecond, and one of 40."""
    ticks = iter([0.0, *(n / 1000 for n in range(1, 16)), *(0.040 + n / 1000 for n in range(15, 100))])
    assert probe(0.07, lambda: next(ticks)) == pytest.approx([0.001, (5 * 0.001 + 0.040) / 6, 0.001, 0.001])


def test_a_page_says_how_steady_its_machine_was() -> None:
    """Where it was measured; results from before have no such line, and are read all the same."""
    steady = replace(a_result(), steadiness=Steadiness(1.2, 3.0, 57.0))
    assert from_json(to_json(steady)) == steady
    (line,) = [line for line in report.page(steady) if "adds" in line]
    assert "1.20 times as long as at its best in the median, 3 times at p99, 57 at worst" in line
    assert line.strip() in "\n".join(tables.told(steady))
    before = json.loads(to_json(a_result()))
    del before["steadiness"]
    assert from_json(json.dumps(before)) == a_result()
    assert not [line for line in report.page(a_result()) if "adds" in line]


def test_a_plot_has_a_dot_for_each_pair() -> None:
    """It is well-formed, and all that is drawn lies within it."""
    drawn = ET.fromstring(svg(a_result(Ratio("p99", "ours", "the floor", 7.0))))  # noqa: S314  (our own)
    dots = [each for each in drawn.iter() if each.tag.endswith("circle")]
    assert len(dots) == 7 + 7 + 7 + 7
    wide, high = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    assert all(0 <= float(dot.attrib["cx"]) <= wide and 0 <= float(dot.attrib["cy"]) <= high for dot in dots)


@pytest.mark.parametrize("most", [0.00071, 0.4, 1.0, 4.99, 5.0, 31, 999, 123_456.7])
def test_an_axis_has_round_numbers_and_holds_the_most(most: float) -> None:
    """From nought in equal steps, not too many."""
    marks = ticks(most)
    assert marks[0] == 0 < most <= marks[-1]
    assert 4 <= len(marks) <= 8
    assert len({f"{after - before:.9g}" for before, after in pairwise(marks)}) == 1


def test_numbers_have_three_digits_that_count() -> None:
    """And no more than a reader can use."""
    values = (0, 0.000123, 0.01234, 0.98765, 1.5, 12.345, 99.96, 123.4, 999.6, 1234.5, 7.0)
    assert [number(each) for each in values] == [
        "0", "0.000123", "0.0123", "0.988", "1.50", "12.3", "100", "123", "1,000", "1,234", "7",
    ]  # fmt: skip


def test_the_account_of_a_process_is_read_whatever_its_name() -> None:
    """A name may hold spaces and brackets."""
    line = "71 (a) b (c) S 7 71 71 0 -1 4194560 1 2 3 4 250 50 1000 200 20 0 1 0 5 6 7"
    used = parse_stat(line)
    assert (used.parent, used.own_s, used.ended_s) == (7, 3.0, 12.0)


def test_a_tree_of_processes_is_all_below_its_root() -> None:
    """Children of children too, and nobody else."""
    assert sorted(tree_of(2, {1: 0, 2: 1, 3: 2, 4: 3, 5: 1})) == [2, 3, 4]

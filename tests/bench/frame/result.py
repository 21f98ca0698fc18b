"""What was measured, as values that a file holds: enough to tell everything again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .plan import Bench, Figure, Given, Ratio, Target
from .steadiness import Steadiness

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Result:
    """A bench that was played: for each side one mapping of figures a pair, in order."""

    code: str
    title: str
    what: str
    figures: tuple[Figure, ...]
    ratios: tuple[Ratio, ...]
    targets: tuple[Target, ...]
    rounds: Mapping[str, Sequence[Mapping[str, float]]]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    took_s: float = 0.0
    steadiness: Steadiness | None = None
    """None: measured before the machine was."""

    @property
    def pairs(self) -> int:
        """How many times each side was played."""
        return max(map(len, self.rounds.values()), default=0)

    def values(self, side: str, figure: str) -> list[float]:
        """Return a figure of a side, pair by pair; pairs in which it could not be had are left out."""
        return [each[figure] for each in self.rounds.get(side, ()) if figure in each]

    def ratios_of(self, ratio: Ratio) -> list[float]:
        """Return a ratio, pair by pair."""
        under = ratio.to_figure or ratio.figure
        pairs = zip(self.rounds.get(ratio.of, ()), self.rounds.get(ratio.to, ()), strict=False)
        return [
            one[ratio.figure] / other[under]
            for one, other in pairs
            if ratio.figure in one and other.get(under)
        ]

    def figure(self, name: str) -> Figure:
        """Return what is known of a figure."""
        return next(each for each in self.figures if each.name == name)


def result_of(bench: Bench, rounds: Mapping[str, Sequence[Mapping[str, float]]], **about: Any) -> Result:
    """Return the result of a bench."""
    kept = {side: [_rounded(each) for each in played] for side, played in rounds.items()}
    figures, ratios, targets = tuple(bench.figures), tuple(bench.ratios), tuple(bench.targets)
    notes = tuple(bench.notes)
    return Result(bench.code, bench.title, bench.what, figures, ratios, targets, kept, notes, **about)


def to_json(result: Result) -> str:
    """Return a result as text: one round a line, so that two of them compare."""
    told = asdict(result)
    rounds = told.pop("rounds")
    lines = json.dumps(told, indent=1, ensure_ascii=False).removesuffix("\n}")
    sides = ",\n".join(
        f"  {json.dumps(side)}: [\n" + ",\n".join(f"   {json.dumps(each)}" for each in played) + "\n  ]"
        for side, played in rounds.items()
    )
    return f'{lines},\n "rounds": {{\n{sides}\n }}\n}}\n'


def from_json(text: str) -> Result:
    """Read what `to_json` wrote."""
    told = json.loads(text)
    targets = (
        each | {"where": Given(**each["where"]) if each["where"] else None} for each in told["targets"]
    )
    return Result(
        **told
        | {
            "figures": tuple(Figure(**each) for each in told["figures"]),
            "ratios": tuple(Ratio(**each) for each in told["ratios"]),
            "targets": tuple(Target(**each) for each in targets),
            "notes": tuple(told["notes"]),
            "steadiness": Steadiness(**steady) if (steady := told.get("steadiness")) else None,
        }
    )


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{_DIGITS}g}") for name, value in figures.items()}

"""The frame of a bench: sides in interleaved pairs on a PostgreSQL with stated settings, and a report.

A bench (`plan`) names its sides: functions that play one round on a stage (`stage`) and return figures. They
are played in turns, in alternating order (`pairs`). What a result says is computed from its values alone
(`intervals`, `verdicts`), and told as tables (`tables`), plots (`plots`) and pages (`report`).
"""

from .meters import Meter
from .plan import Asked, Bench, Figure, Given, Ratio, Side, Target
from .result import Result
from .stage import Daemon, Stage, cancelled_by_sigterm, named_server, own_server

__all__ = ["Asked", "Bench", "Daemon", "Figure", "Given", "Meter", "Ratio", "Result", "Side", "Stage",
           "Target", "cancelled_by_sigterm", "named_server", "own_server"]  # fmt: skip

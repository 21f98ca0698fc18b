"""How often somebody may ask: so much a second, and so much at once after a rest.

Counted in memory, by each node for itself: who asks too often is told so before a byte of his body is read
or the database is asked, and nobody's work waits for a count that nodes would have to share.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable

from chimeway.web.limits import RATES_REMEMBERED


class Rates:
    """Who has asked how often of late.

    For each there is one instant, at which all that he asked would be done at the even rate (GCRA): it may
    lie ahead by as much as may be asked at once. One that is past says nothing, and may be forgotten.
    """

    def __init__(self, each_s: float, at_once: int) -> None:
        """Take how many requests a second one may ask (0: as he likes), and how many without a pause."""
        self._pause_s = 1 / each_s if each_s else 0.0
        self._ahead_s = self._pause_s * (max(at_once, 1) - 1)
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, who: Hashable, now: float) -> int:
        """Count a request, and return 0; or, uncounted, in how many seconds another may come."""
        if not self._pause_s:
            return 0
        until = max(self._until.get(who, now), now)
        if (early_s := until - now - self._ahead_s) > 0:
            return math.ceil(early_s)
        self._until[who] = until + self._pause_s
        self._until.move_to_end(who)
        if len(self._until) > RATES_REMEMBERED:
            self._until.popitem(last=False)
        return 0

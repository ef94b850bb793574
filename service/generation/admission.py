"""Who may begin a text: whoever can end it in time, by what steps have taken until now.

A newcomer is judged by its own deadline alone: were it refused for the sake of others, one caller
with little time could keep everybody out. Those who were let in have some reserve.
"""

import math
from collections.abc import Sequence

from service.engine.cost import Cost
from service.errors import DeadlineExceeded, Overloaded
from service.runtime import Runtime

CAUTION = 1.5  # times the expected time: a text that comes too late was written for nothing


class Admission:
    """What steps of one model take, and who may begin."""

    def __init__(self, runtime: Runtime, limit: int) -> None:
        """Learn what the runtime measured.

        Args:
            limit: texts at once.
        """
        self._limit = limit
        self._cost = Cost()
        for _, rows, seconds in runtime.measured:
            self._cost.measure(rows, seconds)
        self._fastest = min(seconds for _, rows, seconds in runtime.measured if rows == 1)

    def observe(self, texts: int, seconds: float) -> None:
        """A step, its waits included."""
        self._cost.observe(texts, seconds)

    def judge(self, steps: int, allowance: float, others: Sequence[int]) -> None:
        """Refuse what could not end in time.

        Args:
            steps: that the newcomer needs.
            allowance: its seconds.
            others: steps that each of those who are there still needs.

        Raises:
            DeadlineExceeded: not even an idle service could end it in time.
            Overloaded: this one cannot, or as many are there as may be.
        """
        fastest = steps * self._fastest
        if fastest > allowance:
            raise DeadlineExceeded(
                f"{steps} steps take {fastest * 1e3:.0f} ms and the request allows "
                f"{allowance * 1e3:.0f} ms; give it more time or ask for a shorter text"
            )
        if not others:  # what was learned from a crowd says nothing of an idle service
            return
        there = len(others)
        fitting = max(self._cost.within(allowance / steps / CAUTION) - 1, 0)
        if fitting < there:
            needed = steps * self._cost.seconds(there + 1)
            raise self._too_many(
                f"{there} texts are being written, and beside them this one would take "
                f"{needed:.3g} s where the request allows {allowance:.3g} s",
                others,
                fitting,
            )
        if there >= self._limit:
            said = f"{there} texts are being written, which is the limit"
            raise self._too_many(said, others, self._limit - 1)

    def _too_many(self, said: str, others: Sequence[int], fitting: int) -> Overloaded:
        """With the seconds until so many have ended that no more than `fitting` are left."""
        leaving = sorted(others)[len(others) - fitting - 1]
        retry_after = math.ceil(leaving * self._cost.seconds(len(others))) or 1
        return Overloaded(f"{said}; try again in {retry_after} s", retry_after)

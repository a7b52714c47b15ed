"""How long to wait before the next attempt: ever longer, and never two cameras in step."""

from __future__ import annotations

from random import Random

STEADY_S = 10.0  # live for so long: the trouble is over


class Backoff:
    """Exponential with full jitter: uniform(0, min(longest, first * 2 ** attempt)).

    From Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. The attempts are forgotten only once things
    have been well for `steady_s`, so a camera that connects and drops at once is not asked in a tight loop.
    """

    def __init__(
        self, first_wait_s: float, longest_wait_s: float, steady_s: float = STEADY_S, random: Random | None = None
    ) -> None:
        self.first_wait_s = first_wait_s
        self.longest_wait_s = longest_wait_s
        self.steady_s = steady_s
        self.attempt = 0  # waits since things were well
        self._random = random or Random()

    @property
    def bound_s(self) -> float:
        """The longest that the next wait can be."""
        # Past 2 ** 60 the bound has long been reached, and a float has an end.
        return min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(self.attempt, 60))

    def next_wait_s(self) -> float:
        """How long to wait now; the next time it may be twice that."""
        wait_s = self._random.uniform(0, self.bound_s)
        self.attempt += 1
        return wait_s

    def settle(self, well_s: float) -> None:
        """Things have been well for so long: if that is long enough, the waits begin anew."""
        if well_s >= self.steady_s:
            self.attempt = 0

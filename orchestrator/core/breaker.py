"""Stops asking what keeps failing, and finds out when it is back."""

from enum import Enum

from orchestrator.core.clock import Clock

FAILURES = 3  # in a row, or spread among so few successes that they are not forgiven
FORGIVEN = 1 / 50  # of a failure, by each success: what fails oftener than that will open it
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 4.0  # back to normal within five seconds of a recovery


class Turn(Enum):
    """What a caller may do now."""

    CALL = "call"
    PROBE = "probe"  # the one call that finds out whether it is back
    NONE = "none"


class Breaker:
    """Closed: every call may go. Open: none may, but one now and then that tries.

    `turn` is asked before each call; unless it says `NONE`, exactly one of `succeeded`, `failed`
    and `abandoned` follows with what it said.
    """

    def __init__(
        self,
        clock: Clock,
        longest_pause_s: float = LONGEST_PAUSE_S,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        failures: float = FAILURES,
        forgiven: float = FORGIVEN,
        memory_s: float = float("inf"),
    ) -> None:
        """After each try that fails the pause before the next doubles, up to `longest_pause_s`.

        failures  so many, less what successes forgave, open it.    forgiven  of a failure, by each success.
        memory_s  failures count no more when the last one is so long ago.
        """
        self._clock = clock
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._most = failures
        self._forgiven = forgiven
        self._memory_s = memory_s
        self._failures = 0.0
        self._failed_at = 0.0
        self._pause_s = first_pause_s
        self._opened_at = 0.0
        self._retry_at = 0.0
        self._is_probing = False
        self.is_open = False

    @property
    def retry_in_s(self) -> float:
        """Seconds until a call may try again; 0 when one may now."""
        return max(0.0, self._retry_at - self._clock.monotonic()) if self.is_open else 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is known that a new one would not know."""
        return not self.is_open and not self._failures

    def turn(self) -> Turn:
        """Whether a call may go now."""
        if not self.is_open:
            return Turn.CALL
        if self._is_probing or self._clock.monotonic() < self._retry_at:
            return Turn.NONE
        self._is_probing = True
        return Turn.PROBE

    def succeeded(self, turn: Turn) -> float | None:
        """A call worked. Return for how many seconds it was open, when this closed it."""
        if turn is Turn.PROBE:
            self._is_probing = self.is_open = False
            self._failures = 0.0
            self._pause_s = self._first_pause_s
            return self._clock.monotonic() - self._opened_at
        if not self.is_open:
            self._failures = max(0.0, self._failures - self._forgiven)
        return None

    def failed(self, turn: Turn) -> bool:
        """A call failed, or was too slow. Return whether this opened it."""
        now = self._clock.monotonic()
        if turn is Turn.PROBE:
            self._is_probing = False
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
            self._retry_at = now + self._pause_s
            return False
        if now - self._failed_at > self._memory_s:
            self._failures = 0.0
        self._failed_at = now
        self._failures += 1
        if self.is_open or self._failures < self._most:
            return False
        self.is_open = True
        self._opened_at = now
        self._retry_at = now + self._pause_s
        return True

    def abandoned(self, turn: Turn) -> None:
        """A call was given up by its caller, so it says nothing."""
        if turn is Turn.PROBE:
            self._is_probing = False

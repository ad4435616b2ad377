"""Ctrl-C and SIGTERM as a request that a run answers at the end of its step, after it has saved."""
from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """`with Interrupts() as i:` notes the first signal in i.requested; the second one acts at once.

    Other threads than the main one note nothing.
    """

    def __init__(self) -> None:
        self.requested = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # None: a handler that Python did not install
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.requested = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(self, *error: Any) -> None:
        self._restore()

    def act(self) -> None:
        """Lets the signal do what it would have done: KeyboardInterrupt for Ctrl-C, the process's end for SIGTERM unless someone handles it."""
        self._restore()
        if self.requested == signal.SIGINT:
            raise KeyboardInterrupt
        signal.raise_signal(self.requested)

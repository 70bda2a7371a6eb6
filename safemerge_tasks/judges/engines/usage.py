"""How many tokens a judge has read and written, which is what it costs."""

import threading


class Usage:
    """A count that several threads add to.

    Attributes:
        read: tokens of prompts.
        written: tokens of answers, thinking included where the endpoint counts it.
        untold: requests whose endpoint did not say.
    """

    def __init__(self) -> None:
        self.read = self.written = self.untold = 0
        self._lock = threading.Lock()

    def add(self, read: int | None, written: int | None) -> None:
        """Count one request, or several together; None where it is not known."""
        with self._lock:
            if read is None or written is None:
                self.untold += 1
            else:
                self.read += read
                self.written += written

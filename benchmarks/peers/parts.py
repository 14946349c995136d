"""Parts of the work: the CPU seconds of a process by function, exclusive of each other, in any of its threads."""

import functools
import threading
import time
from collections.abc import Iterator


class Parts:
    """CPU seconds by part.

    A function counts the time of its own thread, without that of timed functions within it. What other threads do, as
    those of TensorFlow, and what no function covers, is the rest.
    """

    def __init__(self):
        self._seconds = {}
        self._lock = threading.Lock()
        self._within = threading.local()

    def time(self, owner, name, part):
        """Times a function of a module or class; of one that returns an iterator, also each item."""
        plain = getattr(owner, name)

        @functools.wraps(plain)
        def timed(*given, **named):
            result = self._run(part, plain, *given, **named)
            return self._items(part, result) if isinstance(result, Iterator) else result

        setattr(owner, name, timed)
        self._seconds.setdefault(part, 0.0)

    def fractions(self, whole, rest):
        """The parts of `whole` CPU seconds, with what is left under the name `rest`."""
        return {**self._seconds, rest: max(0.0, whole - sum(self._seconds.values()))}

    def _items(self, part, items):
        while True:
            try:
                item = self._run(part, next, items)
            except StopIteration:
                return
            yield item

    def _run(self, part, function, *given, **named):
        outer, self._within.seconds = getattr(self._within, "seconds", 0.0), 0.0
        begin = time.thread_time()
        try:
            return function(*given, **named)
        finally:
            whole = time.thread_time() - begin
            with self._lock:
                self._seconds[part] += whole - self._within.seconds
            self._within.seconds = outer + whole

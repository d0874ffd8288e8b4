"""What belongs to one process is made again in a child, once."""

from __future__ import annotations

from tests.units.test_threads import run_python

TOGETHER = """
from instance_lookup.concurrency import forks

class Mine(forks.PerProcess):
    times = 0

    def _start_over(self):
        self.times += 1

mine = Mine()
forks._process = 0  # as in a child
for _ in range(2):  # as two threads that have both seen it
    forks._start_all_over()
print(mine.times)
"""


def test_threads_that_come_together_start_all_over_once() -> None:
    """Of two threads in a child the second does not start everything over again."""
    done = run_python(TOGETHER)
    assert (done.stdout, done.stderr) == ("2\n", "")  # when it was made, and in the child

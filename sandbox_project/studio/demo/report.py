"""What the demo prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from studio import people

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper
    from django.core.management.color import Style

    from studio.demo.servers import Sandbox
    from studio.demo.steps import Seen, Step

ROW: Final = "{:>2}  {:<40} {:<15} {:>6} {:<11} {:>5} {:>8}  {}"


class Report:
    """A table that grows by a row a step."""

    def __init__(self, out: OutputWrapper, style: Style) -> None:
        self.out = out
        self.style = style
        self.steps = 0
        self.failed = 0

    def say(self, text: str = "") -> None:
        """Write a line, at once: who watches should see the story happen."""
        self.out.write(text)
        self.out.flush()

    def head(self) -> None:
        """Write the head of the table, and what two of its columns mean."""
        self.say("source: where the studio had the configuration from.")
        self.say(
            "calls: requests that the Config Service answered; 0: it was not asked, or is away."
        )
        self.say()
        names = ("#", "step", "expected", "status", "source", "calls", "latency", "")
        self.say(ROW.format(*names).rstrip())

    def heading(self, text: str) -> None:
        """Write a heading between rows."""
        self.say("\n" + self.style.MIGRATE_HEADING(text))

    def row(self, step: Step, seen: Seen, wrong: list[str]) -> None:
        """Write what a step gave, and below it what is not as it should be."""
        self.steps += 1
        self.failed += bool(wrong)
        verdict = self.style.ERROR("WRONG") if wrong else self.style.SUCCESS("ok")
        took = f"{seen.milliseconds:.0f} ms"
        source = seen.source or "-"
        cells = (self.steps, step.title, step.expected, seen.status, source, seen.calls, took)
        self.say(ROW.format(*cells, verdict))
        for line in wrong:
            self.say(self.style.ERROR(f"     {line}"))

    def end(self) -> None:
        """Write the summary."""
        self.say()
        if self.failed:
            self.say(self.style.ERROR(f"{self.failed} of {self.steps} steps went wrong."))
        else:
            self.say(self.style.SUCCESS(f"All {self.steps} steps did what they should."))

    def addresses(self, sandbox: Sandbox) -> None:
        """Write where everything is and how to get in."""
        studio, service = sandbox.studio.url, sandbox.service.url
        header = f"-H 'Authorization: Token {people.OWNER.token}'"
        lines = [
            "",
            f"Studio          {studio}/",
            f"Config Service  {service}/admin/config_service/switches/   (down, slow, faulty)",
            f"By hand         {studio}/naive/studio-b/   (as neighbour, then as stranger)",
            f"Worker          {sandbox.worker.url}/jobs",
            "",
            f"Log-ins, all with the password {people.PASSWORD!r}:",
            *(f"  {person.name:<10} {person.about}" for person in people.PEOPLE),
            "  admin is also the log-in of the Config Service.",
            "",
            "A job for the worker of studio-a:",
            f"  curl {header} -d task=lighthouse {studio}/api/jobs/",
            "",
            "Ctrl-C stops everything and removes its files.",
        ]
        for line in lines:
            self.say(line)

"""A site's Celery app for the tests, with tasks of each kind. Its broker may be in memory."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from threading import Timer
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging

from instance_lookup import ConfigServiceUnavailable, acurrent_instance, current_instance
from instance_lookup.access import IsAdmin
from instance_lookup.contrib.celery import InstanceTask, install, instance_task
from instance_lookup.request import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOTED: list[Any] = []
"""What the task ``note`` has seen, in this process."""
Seen = list[str | None]
"""Which instance a task works in, for whom, and as part of which request."""


def seen() -> Seen:
    if (block := current.block()) is None:  # called directly, in a request
        return [current_instance().instance_id]
    assert block.result.config is current_instance()
    user_id = "the site" if block.context.user.is_service else block.context.user.user_id
    return [block.result.config.instance_id, user_id, block.context.request_metadata.request_id]


class OwnBase(Task):  # type: ignore[misc]
    """A task class of the project's own."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["own", super().__call__(*args, **kwargs)]


class ClassBased(Task):  # type: ignore[misc]
    """A task as a class, which calls its base as the docs of Celery do."""

    name = "class_based"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["class", super().__call__(*args, **kwargs)]

    def run(self) -> Seen:
        return seen()


def make_app(broker: str = "memory://", backend: str = "cache+memory://", **conf: Any) -> Any:
    """Return an app with the tasks below."""
    app = Celery("tests", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"polling_interval": 0.005},
        result_chord_retry_interval=0.01,
        task_publish_retry=False,
        **conf,
    )
    # At once: what is found later would not be there for a test that runs alone.
    app.autodiscover_tasks(["instance_lookup.contrib.celery"], force=True)
    install(app)
    _add_instance_tasks(app)
    _add_publishing_tasks(app)
    _add_plain_tasks(app)
    return app


@contextmanager
def worker_in_a_thread(app: Any) -> Iterator[None]:
    """Run a worker of this process on a broker in memory."""
    setup_logging.connect(_leave_logging_alone)
    with start_worker(app, perform_ping_check=False):
        yield
        # It looks for its end every two seconds, and after each message.
        waker = Timer(0.05, app.send_task, ["celery.accumulate"])
        waker.start()
    waker.join()
    setup_logging.disconnect(_leave_logging_alone)


def _leave_logging_alone(**kwargs: object) -> None:
    """Have Celery set no levels and handlers, which other tests would have, too."""


def _add_instance_tasks(app: Any) -> None:
    task: Callable[..., Callable[[Any], Any]] = partial(instance_task, app=app, shared=False)

    @task(name="which")
    def which(*args: Any) -> Seen:
        return seen()

    @task(name="async_inside")
    def async_inside() -> str:
        async def work() -> str:
            return (await acurrent_instance()).instance_id

        return async_to_sync(work)()

    @task(name="note")
    def note(request: Any, error: Any, traceback: Any) -> None:
        NOTED.append([type(error), *seen()])

    @task(name="for_admins", policy=IsAdmin())
    def for_admins() -> Seen:
        return seen()

    @task(name="of_own_base", base=OwnBase)
    def of_own_base() -> Seen:
        return seen()

    @task(name="stubborn", bind=True, autoretry_for=(Exception,), default_retry_delay=0)
    def stubborn(self: Any) -> int:
        if self.request.retries < 2:
            raise ValueError("once more")
        seen()
        return int(self.request.retries)


def _add_publishing_tasks(app: Any) -> None:
    task: Callable[..., Callable[[Any], Any]] = partial(instance_task, app=app, shared=False)

    @task(name="replaced", bind=True)
    def replaced(self: Any) -> Any:
        return self.replace(app.signature("which"))

    @task(name="publishes", bind=True)
    def publishes(self: Any, name: str) -> str:
        return str(app.send_task(name).id)


def _add_plain_tasks(app: Any) -> None:
    task: Callable[..., Callable[[Any], Any]] = partial(app.task, shared=False)

    @task(name="plain")
    def plain(*args: Any) -> Seen | str:
        return seen() if current.block() else "no instance"

    @task(name="asks")
    def asks(*args: Any) -> str:
        return current_instance().instance_id

    @task(name="fails")
    def fails() -> None:
        raise ZeroDivisionError

    @task(name="unavailable", autoretry_for=(ConfigServiceUnavailable,))
    def unavailable() -> str:
        return current_instance().instance_id

    @task(name="headers", bind=True)
    def headers(self: Any) -> dict[str, Any]:
        return dict(self.request.headers or {})

    @task(base=InstanceTask, name="by_base")
    def by_base() -> Seen:
        return seen()

    app.register_task(ClassBased())

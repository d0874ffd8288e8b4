"""What a job carries of the code that has published it, and the signature of that.

Who can write to a broker is not the site: what a message says is believed if this site has signed
it for this job, and the user must be allowed to have the instance when the job runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature, Signer

from instance_lookup.exceptions import AccessDenied
from instance_lookup.users import DjangoUser, LookupUser

if TYPE_CHECKING:
    from django.db.models import Manager

_SALT = "instance_lookup.jobs"


class Carried(msgspec.Struct, frozen=True):
    """Of which instance, user and request a job is. No key is in it."""

    instance_id: str
    kind: Literal["account", "id", "site"]
    """What ``user_id`` is: the key of a user in the database, an id alone, or nothing."""
    user_id: str | None = None
    request_id: str | None = None
    """Of the request that began it all: for logs, and for the Config Service."""

    @classmethod
    def of(
        cls, instance_id: str, given: Any, who: LookupUser, request_id: str | None = None
    ) -> Carried:
        """Return what a job of this instance carries.

        ``given`` is the user as the site has them, ``who`` what ``USER_CONTEXT`` says of them. A
        user of the site's model is carried by their key. Of others, such as the user of a token,
        the ``user_id`` is all that is carried: no role, and no tenant.
        """
        if (key := _key_of(given)) is not None:
            # Also if USER_CONTEXT takes them for the site itself: by then it may not.
            return cls(instance_id, "account", key, request_id)
        if who.is_service:
            return cls(instance_id, "site", request_id=request_id)
        return cls(instance_id, "id", who.user_id, request_id)

    def load_user(self) -> Any:
        """Return the user as of now, from the database where they have a row there.

        Raises ``AccessDenied`` for a user who is gone or inactive.
        """
        if self.kind != "account":
            return self._without_account()
        return self._checked(_accounts().filter(pk=self.user_id).first())

    async def aload_user(self) -> Any:
        """Return the user as of now, without blocking the event loop. Raises as the other."""
        if self.kind != "account":
            return self._without_account()
        return self._checked(await _accounts().filter(pk=self.user_id).afirst())

    def _without_account(self) -> LookupUser:
        return LookupUser.service() if self.kind == "site" else LookupUser(self.user_id)

    def _checked(self, user: Any) -> Any:
        if user is None or not getattr(user, "is_active", True):
            state = "gone" if user is None else "inactive"
            raise AccessDenied(
                f"This job of instance {self.instance_id!r} was published for user "
                f"{self.user_id!r}, who is {state} now.",
                instance_id=self.instance_id,
            )
        return user


def sign(carried: Carried, *job: str) -> str:
    """Return text for a message, signed with ``SECRET_KEY``.

    ``job`` is what tells the job from all others, such as the name and the id of the task: the
    text is of no use in another message.
    """
    return _signer(job).sign_object(msgspec.to_builtins(carried))


def read(text: object, *job: str) -> Carried:
    """Return what a message of this ``job`` carries; ``text`` is what :func:`sign` returned.

    ``SECRET_KEY_FALLBACKS`` count as well. Raises ``AccessDenied`` for what this site has not
    signed, or not for this job.
    """
    try:
        return msgspec.convert(_signer(job).unsign_object(str(text)), Carried)
    except (BadSignature, UnicodeEncodeError, msgspec.ValidationError) as exc:
        raise AccessDenied(
            f"The instance of job {' '.join(job)} is not signed by this site for this job: its "
            "message was changed or copied, or the publisher has another SECRET_KEY."
        ) from exc


def _signer(job: tuple[str, ...]) -> Signer:
    # Not by ":" alone: "a:b" and "c" are other names than "a" and "b:c".
    return Signer(salt="\0".join((_SALT, *job)))


def _key_of(given: Any) -> str | None:
    """Return the key of a user in the database; ``None``: they are no user of the site's model."""
    if isinstance(given, DjangoUser):
        given = given.account
    try:
        model = get_user_model()
    except ImproperlyConfigured:  # a site without django.contrib.auth
        return None
    if not isinstance(given, model):
        return None
    # The model's own key: a subclass may have another one beside it.
    key = getattr(given, model._meta.pk.attname)  # noqa: SLF001  # Django documents it
    return None if key is None else str(key)


def _accounts() -> Manager[Any]:
    return get_user_model()._default_manager  # noqa: SLF001  # Django documents it

"""Bring the people of the story into the database."""

from __future__ import annotations

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from studio.models import Profile
from studio.people import PASSWORD, PEOPLE, Person


def plant() -> list[str]:
    """Bring the story's people to their first state; return who is new."""
    # Made once: hashing is slow on purpose.
    password = make_password(PASSWORD)
    return [person.name for person in PEOPLE if _plant(person, password)]


def _plant(person: Person, password: str) -> bool:
    user, created = User.objects.get_or_create(
        username=person.name, defaults={"password": password}
    )
    # A new hash of the same password would end every session of this person.
    if not created and not user.check_password(PASSWORD):
        user.password = password
    user.is_staff = user.is_superuser = person.is_admin
    user.is_active = True
    user.save()
    profile = {"default_instance_id": person.default_instance_id}
    Profile.objects.update_or_create(user=user, defaults=profile)
    Token.objects.filter(user=user).exclude(key=person.token).delete()
    Token.objects.get_or_create(user=user, key=person.token)
    return created

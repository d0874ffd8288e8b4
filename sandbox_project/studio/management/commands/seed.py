"""``manage.py seed``: bring the people of the story into the database."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from rest_framework.authtoken.models import Token

from studio.models import Profile
from studio.people import PASSWORD, PEOPLE


class Command(BaseCommand):
    """Plant the story's people."""

    help = "Create the story's people, or bring them back to their first state; others stay."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        # Made once: hashing is slow on purpose.
        hashed = make_password(PASSWORD)
        for person in PEOPLE:
            user, new = User.objects.get_or_create(username=person.name)
            # A new hash of the same password would end every session of this person.
            if new or not user.check_password(PASSWORD):
                user.password = hashed
            user.is_staff = user.is_superuser = person.is_admin
            user.is_active = True
            user.save()
            profile = {"default_instance_id": person.default_instance_id}
            Profile.objects.update_or_create(user=user, defaults=profile)
            Token.objects.filter(user=user).exclude(key=person.token).delete()
            Token.objects.get_or_create(user=user, key=person.token)

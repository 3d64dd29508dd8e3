"""Sweeps to look at: those that the README's pictures are made from."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from pooldemo import models, records
from pooldemo.sweep.facts import SweepResult

DATA = Path(__file__).parents[2] / "docs" / "data"


@pytest.fixture(autouse=True)
def nothing_of_others(db: None) -> None:
    """Whatever another test left in this database, here it is gone until the transaction is rolled back."""
    models.Sweep.objects.all().delete()


@pytest.fixture(scope="session")
def measured() -> SweepResult:
    """cpu, pooldemo beside geventpool."""
    return SweepResult.from_dict(json.loads((DATA / "cpu.json").read_text()))


@pytest.fixture
def row(db: None, measured: SweepResult) -> models.Sweep:
    return models.Sweep.objects.get(pk=records.store(measured).pk)


@pytest.fixture
def viewer(db: None) -> Client:
    """Somebody who may look at everything and change nothing."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_sweep", "view_trial")))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def editor(db: None) -> Client:
    """Somebody who may write notes on sweeps and delete them, without a word about trials."""
    user = User.objects.create_user("editor", is_staff=True)
    names = ("view_sweep", "change_sweep", "delete_sweep")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client

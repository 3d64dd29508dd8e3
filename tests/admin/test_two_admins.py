"""A project with two admins: whoever is in one of them stays there."""

import re
from typing import Any

import pytest
from django.contrib.admin import AdminSite, site
from django.test import Client
from django.urls import include, path

from pooldemo import models
from pooldemo.admin.sweeps import SweepAdmin
from pooldemo.admin.trials import TrialAdmin

other = AdminSite(name="other")
other.register(models.Sweep, SweepAdmin)
other.register(models.Trial, TrialAdmin)
urlpatterns = [
    path("admin/", site.urls),
    path("other/", other.urls),
    path("", include("pooldemo.demo.urls")),
]
SWEEPS = "/other/pooldemo/sweep/"


@pytest.fixture
def visitor(admin_client: Client, settings: Any) -> Client:
    settings.ROOT_URLCONF = __name__
    admin_client.defaults["HTTP_HOST"] = "localhost"
    return admin_client


def test_it_leads_from_each_page_to_its_own(visitor: Client, row: models.Sweep) -> None:
    trial = row.trials.all()[0].pk
    twice = f"{row.pk},{models.Sweep.objects.create(**_as(row)).pk}"
    pages = ("", "live/", "live/", "run/", f"{row.pk}/change/", f"compare/?sweeps={twice}")
    for page in (*(f"{SWEEPS}{page}" for page in pages), f"/other/pooldemo/trial/{trial}/change/"):
        answer = visitor.get(page)
        assert answer.status_code == 200
        main = answer.content.decode().partition('class="breadcrumbs"')[2]  # the head is the demo's own
        places = set(re.findall('(?:href|action|data-state)="(/[a-z]+/)', main))
        assert places <= {"/other/", "/pool/", "/static/"}, page
    assert 'data-state="/other/' in visitor.get(f"{SWEEPS}live/").content.decode()


def test_it_leads_back_to_its_own_from_each_form(visitor: Client, row: models.Sweep) -> None:
    page = f"{SWEEPS}{row.pk}/change/"
    chosen = [row.pk, models.Sweep.objects.create(**_as(row)).pk]
    sent: dict[str, dict[str, Any]] = {
        f"{row.pk}/share/": {}, "run/stop/": {"number": row.pk}, "run/start/": {"resume": row.pk},
        "": {"action": "compare", "_selected_action": chosen},
    }  # fmt: skip
    for form, values in sent.items():
        assert visitor.post(f"{SWEEPS}{form}", values)["Location"].startswith("/other/"), form
    assert visitor.get(f"{SWEEPS}run/stop/")["Location"].startswith("/other/")
    assert re.search(r"http://localhost/other/\S+/shared/", visitor.get(page).content.decode())
    asked = visitor.post(SWEEPS, {"action": "delete_selected", "_selected_action": chosen}).content.decode()
    assert f'href="{page}"' in asked


def _as(row: models.Sweep) -> dict[str, Any]:
    """The columns of another one of the same load."""
    names = (each.name for each in models.Sweep._meta.fields if each.name != "id")
    return {name: getattr(row, name) for name in names}

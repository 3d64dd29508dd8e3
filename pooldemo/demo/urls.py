"""The app's addresses; whoever loads the site from elsewhere relies on their names."""

from django.conf import settings
from django.urls import path
from django.views.generic import RedirectView

from pooldemo.demo import views

urlpatterns = [
    path("", views.index, name="index"),
    # Browsers ask for it beside every answer that is no page of ours, such as a workload's.
    path("favicon.ico", RedirectView.as_view(url=f"/{settings.STATIC_URL.strip('/')}/pooldemo/icon.svg")),
    *(path(address.removeprefix("/"), view, name=address.strip("/")) for address, view in views.DIRECT.items()),
]

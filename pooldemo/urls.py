"""The app's addresses; the Contract in docs/design.md fixes their names."""

from django.urls import path

from pooldemo import views

urlpatterns = [
    path("", views.index, name="index"),
    *(path(address.removeprefix("/"), view, name=address.strip("/")) for address, view in views.DIRECT.items()),
]

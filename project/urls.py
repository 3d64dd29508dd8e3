"""The site's addresses: the admin, and everything else from the app."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("pooldemo.demo.urls")),
]


def handler400(_request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  its name is Django's
    """The page alone. Django's own looks into the form once more, which may be what makes no sense: that was a 500."""
    return HttpResponse(render_to_string("400.html"), status=400)

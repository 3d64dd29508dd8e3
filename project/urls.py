"""The site's addresses: the admin, and everything else from the app."""

from django.contrib import admin
from django.urls import include, path
from django.views import defaults

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("pooldemo.demo.urls")),
]

# Django's own, without the look into the form that it puts around each for the sake of a token: no page has one, and a
# form that makes no sense made a 500 of a 404.
handler400, handler403, handler404, handler500 = (
    getattr(view, "__wrapped__")  # noqa: B009  mypy knows of none
    for view in (defaults.bad_request, defaults.permission_denied, defaults.page_not_found, defaults.server_error)
)

"""A sweep's report for somebody without a login, by a link that is made when asked for, holds the sweep's number and a
secret, and can be taken back. Nothing else of the site can be reached by it."""

import secrets
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.crypto import constant_time_compare

from pooldemo import records
from pooldemo.admin.measured import address, posted, readable
from pooldemo.models import Sweep
from pooldemo.postgresql.aside import aside
from pooldemo.sweep.report.html_report import to_html

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The report brings its own style, and nothing else."""


class Sharing:
    """Theirs are `<number>/share/`, for who may change the sweep, and `shared/<number>/<secret>/`, for who has it."""

    def __init__(self, admin: "ModelAdmin[Sweep]") -> None:
        self._admin = admin

    def urls(self) -> list[URLPattern]:
        inside = self._admin.admin_site.admin_view
        return [
            path(
                "<int:number>/share/", inside(posted(self.share, "pooldemo_sweep_change")), name="pooldemo_sweep_share"
            ),
            path("shared/<int:number>/<str:secret>/", readable(shared), name="pooldemo_sweep_shared"),
        ]

    def share(self, request: HttpRequest, number: int) -> HttpResponse:
        """Make the link where there is none, or take it back."""
        row = self._admin.get_object(request, str(number))
        if row is None:
            raise Http404(f"There is no sweep {number}")
        if not self._admin.has_change_permission(request, row):
            raise PermissionDenied
        if "take_back" in request.POST:
            row.shared = ""
        elif not row.shared:  # asked for twice, it stays the same
            row.shared = secrets.token_urlsafe(24)
        row.save(update_fields=["shared"])
        return HttpResponseRedirect(address(request, "pooldemo_sweep_change", number))


@login_not_required
def shared(_request: HttpRequest, number: int, secret: str) -> HttpResponse:
    """The report, as `sweep --html` writes it; 404 for whoever guesses."""
    records.settle()  # else one that was killed runs here for ever
    row = Sweep.objects.filter(pk=number).exclude(shared="").first()
    if row is None or not constant_time_compare(row.shared, secret):
        raise Http404("This link was taken back, or never was one")
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Robots-Tag": "noindex, nofollow",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return HttpResponse(aside(to_html, records.result(row)), headers=headers)


def link_of(request: HttpRequest, row: Sweep) -> str:
    """The whole address to hand on; empty where the sweep is not shared. A site whose cookies are for TLS alone speaks
    it, whether or not what stands before it says so: the secret must not go in the clear."""
    if not row.shared:
        return ""
    link = request.build_absolute_uri(address(request, "pooldemo_sweep_shared", row.pk, row.shared))
    return link.replace("http:", "https:", 1) if settings.SESSION_COOKIE_SECURE else link

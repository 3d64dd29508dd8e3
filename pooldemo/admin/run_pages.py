"""The pages that start, watch and stop a sweep, for those who may: a permission of its own, from this machine alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.request import split_domain_port
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from pooldemo import records
from pooldemo.admin import run_form, runs
from pooldemo.admin.measured import address, posted, readable
from pooldemo.models import Sweep
from pooldemo.sweep.analyse.ending import BY_WHOM
from pooldemo.sweep.report.progress import progress_of

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

PERMISSION = "pooldemo.run_sweep"
SWEEP, STARTED = "pooldemo_sweep_change", "pooldemo_run_started"  # the names of pages that others lead to
PASSED_ON = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP")
"""How the headers begin that proxies add."""


def may_run(request: HttpRequest) -> bool:
    """Whether this visitor may load this machine: by the permission, and sitting at it. A proxy's visitors do not: it
    says whom it asks for, or which name it was asked by. One that says neither, as nginx unless it is told, speaks
    HTTP/1.0, which no browser does; where it does not, the browser says which site its form is of."""
    if not getattr(request, "user", None) or not request.user.has_perm(PERMISSION):
        return False
    if any(name.startswith(PASSED_ON) for name in request.META) or request.META.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return False
    try:
        asked = request.get_host()
    except DisallowedHost:
        return False
    if request.headers.get("Origin", f"://{asked}").partition("://")[2] != asked:
        return False
    host = split_domain_port(asked)[0].strip("[]")
    return _is_loopback(request.META.get("REMOTE_ADDR", "")) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:  # of a Unix socket there is none: somebody passes it on
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


class RunPages:
    """Theirs are the addresses below `run/`, and `<number>/progress/`."""

    def __init__(self, admin: "ModelAdmin[Sweep]") -> None:
        self._admin = admin

    def urls(self) -> list[URLPattern]:
        inside = self._admin.admin_site.admin_view
        return [
            path("run/", inside(readable(self.form)), name="pooldemo_run"),
            path("run/check/", inside(require_POST(self.check)), name="pooldemo_run_check"),
            path("run/start/", inside(posted(self.start, "pooldemo_run")), name="pooldemo_run_start"),
            path("run/started/", inside(self.started), name=STARTED),
            path("run/state/", inside(self.state), name="pooldemo_run_state"),
            path("run/stop/", inside(posted(self.stop, STARTED)), name="pooldemo_run_stop"),
            path("<int:number>/progress/", inside(readable(self.progress)), name="pooldemo_sweep_progress"),
        ]

    def form(self, request: HttpRequest) -> HttpResponse:
        """What to measure: the command's own options, filled with another sweep's (`?again=7`) or with none."""
        self._admit(request)
        given: Mapping[str, str] = request.GET.dict()
        if row := self._named(given.get("again", "")):
            given = run_form.filled(records.plan_of(row))
        return self._form(request, given)

    def _form(self, request: HttpRequest, given: Mapping[str, str], refusal: str = "") -> HttpResponse:
        about = {"running": self._running(), "refusal": refusal, **run_form.shown(given)}
        return self._page(request, "run", "Run a sweep", **about)

    def _named(self, number: str) -> Sweep | None:
        """The sweep of that number, as typed; None: there is none."""
        records.settle()
        is_one = number.isascii() and number.isdigit() and len(number) < 19
        return Sweep.objects.filter(pk=number).first() if is_one else None

    def check(self, request: HttpRequest) -> HttpResponse:
        """What the command says of the form: trials and minutes, or what is wrong."""
        self._admit(request)
        fits, said = _asked(run_form.options(request.POST))
        return JsonResponse({"fits": fits, "said": said})

    def start(self, request: HttpRequest) -> HttpResponse:
        """Start what the form says, or go on with a sweep; one at a time."""
        self._admit(request)
        if running := self._running():
            return self._refuse(request, f"sweep {running.pk}", running)
        resumed = self._named(request.POST.get("resume", ""))
        if resumed is None and "resume" in request.POST:  # deleted since: it would begin another
            raise Http404("There is no such sweep")
        options = [f"--resume={resumed.pk}"] if resumed else run_form.options(request.POST)
        fits, said = _asked(options)
        if not fits and resumed:
            self._say(request, said)
            return HttpResponseRedirect(address(request, SWEEP, resumed.pk))
        if not fits:
            return self._form(request, request.POST.dict(), said)  # nothing that was typed is lost
        if not runs.start(options):
            return self._refuse(request, "one that was just started", self._running())
        return HttpResponseRedirect(address(request, STARTED))

    def _refuse(self, request: HttpRequest, what: str, running: Sweep | None) -> HttpResponse:
        self._say(request, f"Another sweep runs ({what}), and two would measure each other: wait, or stop it.")
        page = address(request, SWEEP, running.pk) if running else address(request, STARTED)
        return HttpResponseRedirect(page)

    def started(self, request: HttpRequest) -> HttpResponse:
        """Until the sweep has a number, this is its page; and where it never gets one, what the command said."""
        self._admit(request)
        run = runs.last()
        if run.lives and run.number is not None:
            return HttpResponseRedirect(address(request, SWEEP, run.number))
        title = "Starting a sweep" if run.lives else "The sweep has ended"
        return self._page(request, "started", title, run=run, by_whom=BY_WHOM)

    def state(self, request: HttpRequest) -> HttpResponse:
        """The same for its script."""
        self._admit(request)
        run = runs.last()
        page = address(request, SWEEP, run.number) if run.number is not None else ""
        return JsonResponse({"lives": run.lives, "page": page, "said": run.said})

    def stop(self, request: HttpRequest) -> HttpResponse:
        """Stop the sweep whose page said so: an old page of another one stops nothing."""
        self._admit(request)
        row = self._named(request.POST.get("number", ""))
        if row is None:
            raise Http404("There is no such sweep")
        if runs.stop(row.pk):
            self._say(request, "It ends after this trial, and keeps what was measured; once more stops it at once.", 20)
        elif row.status == Sweep.Status.RUNNING:
            self._say(request, "It was not started from a page: press Ctrl-C where it runs.")
        else:
            self._say(request, "It has ended already.", 20)
        return HttpResponseRedirect(address(request, SWEEP, row.pk))

    def progress(self, request: HttpRequest, number: int) -> HttpResponse:
        """The part of a running sweep's page that changes."""
        row = self._admin.get_object(request, str(number))
        if row is None:
            raise Http404(f"There is no sweep {number}")
        if not self._admin.has_view_permission(request, row):
            raise PermissionDenied
        response = TemplateResponse(request, "admin/pooldemo/sweep/progress.html", about_progress(row))
        response.headers["Cache-Control"] = "no-store"
        return response

    def _admit(self, request: HttpRequest) -> None:
        if not may_run(request):
            raise PermissionDenied(
                "A sweep loads this machine: who starts one has the permission to run sweeps, and sits at this machine."
            )

    def _running(self) -> Sweep | None:
        records.settle()
        return Sweep.objects.filter(status=Sweep.Status.RUNNING).first()

    def _say(self, request: HttpRequest, text: str, level: int = messages.WARNING) -> None:
        self._admin.message_user(request, text, level)

    def _page(self, request: HttpRequest, name: str, title: str, **context: Any) -> HttpResponse:
        about = {**self._admin.admin_site.each_context(request), "opts": self._admin.opts, "media": self._admin.media}
        about |= {"title": title, "is_nav_sidebar_enabled": False, **context}
        return TemplateResponse(request, f"admin/pooldemo/sweep/{name}.html", about)


def can_stop(request: HttpRequest, row: Sweep) -> bool:
    """Whether it runs, was started from a page, and this visitor may stop it."""
    last = runs.last() if row.status == Sweep.Status.RUNNING and may_run(request) else None
    return bool(last and last.lives and last.number == row.pk)


def about_progress(row: Sweep) -> dict[str, Any]:
    """What the part of the page needs that shows how far it has come; little, where it does not run."""
    about: dict[str, Any] = {"status": row.status, "number": row.pk}
    if row.status != Sweep.Status.RUNNING:
        return about
    return about | {"progress": progress_of(records.steps(row), datetime.now(UTC))}


def _asked(options: list[str]) -> tuple[bool, str]:
    """What the command says of them; meanwhile this request holds no slot."""
    if not connection.in_atomic_block:
        connection.close()
    return runs.check(options)

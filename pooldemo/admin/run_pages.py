"""The pages that start, watch and stop a sweep, for those who may: a permission of its own, from this machine alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from pooldemo import records
from pooldemo.admin import runs
from pooldemo.models import Sweep
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.slo import typed
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.report.progress import progress_of
from pooldemo.sweep.workloads import CHOICES

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

PERMISSION = "pooldemo.run_sweep"


def may_run(request: HttpRequest) -> bool:
    """Whether this visitor may load this machine: by the permission, and sitting at it. A proxy's visitors do not."""
    if not getattr(request, "user", None) or not request.user.has_perm(PERMISSION):
        return False
    try:
        near = ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:  # a Unix socket: somebody passes it on
        return False
    return near and "HTTP_X_FORWARDED_FOR" not in request.META and "HTTP_FORWARDED" not in request.META


class RunPages:
    """Theirs are the addresses below `run/`, and `<number>/progress/`."""

    def __init__(self, admin: "ModelAdmin[Sweep]") -> None:
        self._admin = admin

    def urls(self) -> list[URLPattern]:
        inside = self._admin.admin_site.admin_view
        return [
            path("run/", inside(self.form), name="pooldemo_run"),
            path("run/check/", inside(require_POST(self.check)), name="pooldemo_run_check"),
            path("run/start/", inside(require_POST(self.start)), name="pooldemo_run_start"),
            path("run/started/", inside(self.started), name="pooldemo_run_started"),
            path("run/state/", inside(self.state), name="pooldemo_run_state"),
            path("run/stop/", inside(require_POST(self.stop)), name="pooldemo_run_stop"),
            path("<int:number>/progress/", inside(self.progress), name="pooldemo_sweep_progress"),
        ]

    def form(self, request: HttpRequest) -> HttpResponse:
        """What to measure: the command's own options, filled with another sweep's (`?again=7`) or with none."""
        self._admit(request)
        given: Mapping[str, str] = request.GET.dict()
        again = given.get("again", "")
        if again.isdecimal() and (row := Sweep.objects.filter(pk=again).first()):
            given = typed_plan(records.result(row).plan)
        fields = [(name, label, given.get(name, "")) for name, label in runs.FIELDS.items()]
        return self._page(request, "run", "Run a sweep", fields=fields, running=self._running(), **_choices())

    def check(self, request: HttpRequest) -> HttpResponse:
        """What the command says of the form: trials and minutes, or what is wrong."""
        self._admit(request)
        fits, said = runs.check(runs.arguments(request.POST))
        return JsonResponse({"fits": fits, "said": said})

    def start(self, request: HttpRequest) -> HttpResponse:
        """Start what the form says, or go on with a sweep; one at a time."""
        self._admit(request)
        if (running := self._running()) or runs.last().lives:
            what = f"sweep {running.pk}" if running else "one that was just started"
            self._say(request, f"Another sweep runs ({what}), and two would measure each other: wait, or stop it.")
            return HttpResponseRedirect(self._of(running.pk) if running else reverse("admin:pooldemo_run_started"))
        resumed = request.POST.get("resume", "")
        options = [f"--resume={int(resumed)}"] if resumed.isdecimal() else runs.arguments(request.POST)
        fits, said = runs.check(options)
        if not fits:
            self._say(request, said)
            query = request.POST.copy()
            query.pop("csrfmiddlewaretoken", None)
            form = f"{reverse('admin:pooldemo_run')}?{query.urlencode()}"  # nothing that was typed is lost
            return HttpResponseRedirect(self._of(int(resumed)) if resumed.isdecimal() else form)
        runs.start(options)
        return HttpResponseRedirect(reverse("admin:pooldemo_run_started"))

    def started(self, request: HttpRequest) -> HttpResponse:
        """Until the sweep has a number, this is its page; and where it never gets one, what the command said."""
        self._admit(request)
        run = runs.last()
        if run.lives and run.number is not None:
            return HttpResponseRedirect(self._of(run.number))
        return self._page(request, "started", "Starting a sweep" if run.lives else "The sweep has ended", run=run)

    def state(self, request: HttpRequest) -> HttpResponse:
        """The same for its script."""
        self._admit(request)
        run = runs.last()
        page = self._of(run.number) if run.number is not None else ""
        return JsonResponse({"lives": run.lives, "page": page, "said": run.said})

    def stop(self, request: HttpRequest) -> HttpResponse:
        self._admit(request)
        if runs.stop():
            self._say(request, "It ends after this trial, and keeps what was measured; once more stops it at once.", 20)
        else:
            self._say(request, "It was not started from a page: press Ctrl-C where it runs.")
        number = runs.last().number
        return HttpResponseRedirect(self._of(number) if number else reverse("admin:pooldemo_run_started"))

    def progress(self, request: HttpRequest, number: int) -> HttpResponse:
        """The part of a running sweep's page that changes."""
        row = self._admin.get_object(request, str(number))
        if row is None:
            raise Http404(f"There is no sweep {number}")
        if not self._admin.has_view_permission(request, row):
            raise PermissionDenied
        response = TemplateResponse(request, "admin/pooldemo/sweep/progress.html", about_progress(request, row))
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

    def _of(self, number: int) -> str:
        return reverse("admin:pooldemo_sweep_change", args=[number])

    def _page(self, request: HttpRequest, name: str, title: str, **context: Any) -> HttpResponse:
        about = {**self._admin.admin_site.each_context(request), "opts": self._admin.opts, "media": self._admin.media}
        about |= {"title": title, "is_nav_sidebar_enabled": False, **context}
        return TemplateResponse(request, f"admin/pooldemo/sweep/{name}.html", about)


def about_progress(request: HttpRequest, row: Sweep) -> dict[str, Any]:
    """What the part of the page needs that shows how far it has come."""
    found = progress_of(records.result(row), datetime.now(UTC))
    last = runs.last() if may_run(request) else None
    own = bool(last and last.lives and last.number == row.pk)
    return {"progress": found, "status": row.status, "can_stop": own, "number": row.pk}


def typed_plan(plan: Plan) -> dict[str, str]:
    """A plan as it would be typed into the form."""
    return {
        "stack": ",".join(plan.stacks), "workload": plan.workload if plan.workload in CHOICES else "",
        "url": plan.urls[0] if plan.urls else "", "ms": f"{plan.ms:g}", "users": str(plan.users),
        "sizes": ",".join(map(str, plan.sizes)), "workers": ",".join(map(str, plan.worker_counts)),
        "duration": f"{plan.duration_s:g}", "warmup": "" if plan.warmup_cycles else f"{plan.warmup_s:g}",
        "repeats": str(plan.repeats), "slo": typed(plan.slo),
        "arrivals": "max" if plan.search else "" if plan.rate is None else f"{plan.rate:g}",
    }  # fmt: skip


def _choices() -> dict[str, Any]:
    return {"workloads": CHOICES, "stacks": ("all", *stacks.names())}

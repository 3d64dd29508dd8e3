"""Sweeps and trials in the admin: lists that can be worked with, a page for each sweep, and the way to the live pool.

A trial is a measurement: nobody adds or changes one. Of a sweep the notes alone are a person's. What the pages show is
made in `said.py` and `live.py`; here is who may see it, and where.
"""

import json
from functools import reduce
from operator import or_
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from pooldemo import records
from pooldemo.admin import live, run_form, runs
from pooldemo.admin.drawing import drawn
from pooldemo.admin.measured import Measured, address, is_demo, readable
from pooldemo.admin.run_pages import RunPages, about_progress, can_stop, may_run
from pooldemo.admin.said import blocks_of, compared, said_of, svg_of
from pooldemo.admin.sharing import Sharing, link_of
from pooldemo.models import Sweep, Trial
from pooldemo.postgresql.aside import aside
from pooldemo.sweep.facts import SHAPES
from pooldemo.sweep.report import formats, tables
from pooldemo.sweep.report.figures import load_of
from pooldemo.sweep.report.moment import moment
from pooldemo.sweep.report.overlay import MOST
from pooldemo.sweep.report.trend import trend

# What the small curves of a list need; the rest of a trial is ten times as large.
CURVE_FIELDS = ("id", "sweep_id", "stack", "size", "repeat", "workers", "rps", "error")
FOUND = (
    '<div class="found {}"><strong>{}</strong> <span class="rps">{}</span> {} '
    '<span class="stack">{}&nbsp;{}</span></div>'
)
TAG = ' <span class="tag">{}</span>'
MAX_COMPARED = MOST
CHOOSING = Media(js=("admin/js/actions.js",))


def _holds(column: str, text: str, before: str = "", after: str = "") -> Q:
    """Sweeps whose JSON has the text there, as each database keeps it: with an é, or with \\u00e9 for one. By the text
    of the whole, which each can search; `contains` only some can."""
    kept = {f"{before}{json.dumps(text, ensure_ascii=is_ascii)[1:-1]}{after}" for is_ascii in (False, True)}
    return reduce(or_, (Q(**{f"{column}__icontains": each}) for each in kept))


def _has_stack(name: str) -> Q:
    return _holds("stacks", name, '"', '"')


def _has_shape(shape: str) -> Q:
    """Sweeps with a verdict of that shape. A text in it that says so has its quotes escaped."""
    return _holds("verdicts", shape, '"shape": "', '"')


class StackFilter(admin.SimpleListFilter):
    """Sweeps that measured a stack, with others or alone."""

    title = parameter_name = "stack"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        lists = Sweep.objects.order_by().values_list("stacks", flat=True).distinct()
        stacks = {str(name) for names in lists if isinstance(names, list) for name in names}
        return [(name, name) for name in sorted(stacks)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Sweep]) -> QuerySet[Sweep]:
        name = self.value()
        return queryset.filter(_has_stack(name)) if name else queryset


class ShapeFilter(admin.SimpleListFilter):
    """Sweeps in which some stack's verdict has a shape."""

    title = parameter_name = "shape"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(shape, tables.SHAPES[shape]) for shape in SHAPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Sweep]) -> QuerySet[Sweep]:
        shape = self.value()
        return queryset.filter(_has_shape(shape)) if shape else queryset


@admin.register(Sweep)
class SweepAdmin(Measured):
    """What was measured, and what to do about it."""

    editable = ("notes",)
    fieldsets = ((None, {"fields": ("notes",)}),)
    list_display = ("number", "found", "load", "status", "started")
    list_filter = (StackFilter, "workload", ShapeFilter, "status", "started_at")
    list_per_page = 50
    search_fields = ("notes",)  # get_search_results knows what else
    actions = ("compare",)

    @property
    def media(self) -> Media:
        """Our own alone: one text field needs none of the admin's scripts, the list only that which chooses rows."""
        return Media(css={"all": ("pooldemo/admin.css",)})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sweep]:
        """Every page begins here, so none shows as running what nobody runs."""
        records.settle()
        return super().get_queryset(request)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The rows' trials in one query for the whole page, none for each."""
        changes = super().get_changelist_instance(request)
        trials = Trial.objects.only(*CURVE_FIELDS)
        rows = changes.result_list.defer("conditions")
        changes.result_list = rows.prefetch_related(Prefetch("trials", trials, to_attr="curve_trials"))
        return changes

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        about = {"may_run": may_run(request), "is_demo": is_demo(), "media": self.media + CHOOSING}
        return super().changelist_view(request, about | (extra_context or {}))

    # -- a row of the list ---------------------------------------------------------------------------------------------

    @admin.display(description="sweep", ordering="id")
    def number(self, sweep: Sweep) -> str:
        return f"sweep {sweep.pk}"

    @admin.display(description="what it found, by stack")
    def found(self, sweep: Sweep) -> SafeString:
        """A block for each stack: its size, its number, its curve."""
        try:
            blocks = aside(blocks_of, sweep, getattr(sweep, "curve_trials", ()))
        except records.Unreadable as error:
            return format_html("{}", error)
        return format_html_join("", FOUND, blocks)

    @admin.display(description="started", ordering="started_at")
    def started(self, sweep: Sweep) -> str:
        return moment(records.begun_at(sweep))

    @admin.display(description="load, tags", ordering="workload")
    def load(self, sweep: Sweep) -> SafeString:
        tags = ((word,) for word in sweep.notes.split() if word.startswith("#") and len(word) > 1)
        try:
            load = load_of(records.curve(sweep, ()))
        except records.Unreadable:
            load = sweep.workload
        return format_html('<span class="load" title="{0}">{0}</span>{1}', load, format_html_join("", TAG, tags))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Each word is looked for in the load, the stacks, the verdicts' shapes, and the notes with their tags."""
        every = []
        for word in dict.fromkeys(search_term.split()):
            wanted = Q(workload__icontains=word) | _holds("stacks", word) | _holds("urls", word)
            wanted |= Q(notes__icontains=word) | _has_shape(word)
            if word.isdecimal() and len(word) < 19:
                wanted |= Q(users=int(word)) | Q(pk=int(word))
            every.append(wanted)
        return queryset.filter(*every), False  # at once: one after the other each copies all before it

    @admin.action(description="Compare the selected sweeps on one chart", permissions=["view"])
    def compare(self, request: HttpRequest, queryset: QuerySet[Sweep]) -> HttpResponse | None:
        chosen = sorted(queryset.values_list("pk", flat=True))
        if not 2 <= len(chosen) <= MAX_COMPARED:
            self.message_user(
                request, f"{len(chosen)} chosen: two to {MAX_COMPARED} sweeps fit on one chart", level="WARNING"
            )
            return None
        return HttpResponseRedirect(f"{address(request, 'pooldemo_sweep_compare')}?sweeps={','.join(map(str, chosen))}")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Each sweep by its name, and its trials, which go with it, by their number: there are thousands."""
        named = [
            format_html(
                '<a href="{}">{}</a>{}',
                address(request, "pooldemo_sweep_change", each.pk),
                each,
                ", which runs now, and ends" if each.status == Sweep.Status.RUNNING else "",
            )
            for each in objs
        ]
        trials = Trial.objects.filter(sweep__in=[each.pk for each in objs]).count()
        counts = {Sweep._meta.verbose_name_plural: len(named), Trial._meta.verbose_name_plural: trials}
        lacking = set() if self.has_delete_permission(request) else {Sweep._meta.verbose_name}
        return named, counts, lacking, []

    # -- the pages -----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        inside = self.admin_site.admin_view
        pages = [
            path("compare/", inside(readable(self.compare_view)), name="pooldemo_sweep_compare"),
            *RunPages(self).urls(),
            *super().get_urls(),
        ]
        for each in pages:  # so that whoever comes here before an outage can open the live pool in it
            each.callback = live.passing(self, each.callback)
        return [
            # Not behind admin_view, which would need the database to know who asks: live.py does it without.
            path("live/", live.page(self), name="pooldemo_live"),
            path("live/state/", live.state(self), name="pooldemo_live_state"),
            path("<int:number>/sweep.<str:kind>", inside(readable(self.report_view)), name="pooldemo_sweep_report"),
            path("<int:number>/<str:name>.svg", inside(readable(self.figure_view)), name="pooldemo_sweep_figure"),
            *Sharing(self).urls(),
            *pages,
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A sweep's page: the verdict, the figures and the tables above the form with the notes."""
        row = self.get_object(request, object_id)
        shown: dict[str, Any] = {"is_nav_sidebar_enabled": False, "subtitle": None}
        if row is not None and self.has_view_permission(request, row):
            try:
                shown |= self._shown(request, row)
            except records.Unreadable as error:
                shown |= {"title": f"Sweep {row.pk}", "unreadable": error}
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def save_model(self, _request: HttpRequest, obj: Sweep, _form: Any, _change: bool) -> None:
        """The notes alone: since the row was read its sweep may have ended, or somebody have deleted it."""
        Sweep.objects.filter(pk=obj.pk).update(**{name: getattr(obj, name) for name in self.editable})

    def _shown(self, request: HttpRequest, row: Sweep) -> dict[str, Any]:
        """What its page shows above the form."""
        asked = {name: request.GET.get(name, "").strip() for name in ("margin", "slo")}
        sweep = records.result(row)
        may_share, runs_on = self.has_change_permission(request, row), may_run(request)
        return {
            **aside(said_of, sweep, **asked),
            "started_at": moment(records.begun_at(row)),
            "may_run": runs_on,
            "is_demo": is_demo(),
            "may_repeat": runs_on and run_form.is_for_page(sweep.plan),
            "previous": records.previous(row),
            "shared": link_of(request, row) if may_share else "",
            "may_share": may_share,
            "said": _last_word(request, row),
            "can_stop": can_stop(request, row),
            **about_progress(row),
            "trend": _trend(row),
            "reports": formats.FORMATS,
        }

    def report_view(self, request: HttpRequest, number: int, kind: str) -> HttpResponse:
        """What `sweep --json` and its like write: a file to keep, or a text to copy."""
        row = self.get_object(request, str(number))
        if row is None or kind not in formats.FORMATS:
            raise Http404(f"There is no sweep {number} as {kind}; reports are {', '.join(formats.FORMATS)}")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        found = formats.FORMATS[kind]
        how = "inline" if found.media_type == "text/plain" else "attachment"
        name = f'{how}; filename="sweep-{number}.{found.file_suffix}"'
        return HttpResponse(
            aside(found.write, records.result(row)),
            content_type=f"{found.media_type}; charset=utf-8",
            headers={"Content-Disposition": name},
        )

    def figure_view(self, request: HttpRequest, number: int, name: str) -> HttpResponse:
        """One figure as a file, wide: to put into a document."""
        row = self.get_object(request, str(number))
        if row is not None and not self.has_view_permission(request, row):
            raise PermissionDenied
        svg = aside(svg_of, records.result(row), name) if row is not None else None
        if svg is None:
            raise Http404(f"There is no figure {name} of a sweep {number}")
        return HttpResponse(
            svg,
            content_type="image/svg+xml; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="sweep-{number}-{name}.svg"'},
        )

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Two to six sweeps on one chart, in the order asked for; of two it says what changed and whether that is more
        than luck."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        named = request.GET.get("sweeps", "").split(",")
        numbers = [int(text) for text in named if text.isdecimal() and len(text) < 19][:MAX_COMPARED]
        rows = {row.pk: row for row in self.get_queryset(request).filter(pk__in=numbers)}
        sweeps = [records.result(rows[number]) for number in dict.fromkeys(numbers) if number in rows]
        if len(sweeps) < 2:
            raise Http404("Name two to six sweeps that there are, as in ?sweeps=1,2")
        about = {"media": self.media, "is_nav_sidebar_enabled": False, "opts": self.opts}
        about |= {"title": f"Sweeps {', '.join(str(sweep.id) for sweep in sweeps)} compared"}
        about |= aside(compared, sweeps, request.GET.getlist("stack"))
        context = {**self.admin_site.each_context(request), **about}
        return TemplateResponse(request, "admin/pooldemo/sweep/compare.html", context)


def _last_word(request: HttpRequest, row: Sweep) -> str:
    """What the command said last of this sweep, where it was started from a page and did not end well."""
    last = runs.last() if may_run(request) and row.status in (Sweep.Status.INTERRUPTED, Sweep.Status.FAILED) else None
    return last.said.splitlines()[-1] if last and last.number == row.pk and last.said else ""


def _trend(row: Sweep) -> list[tuple[str, SafeString]]:
    found = trend(records.of_load(row))
    return drawn({"trend": found}, wide=False) if found else []

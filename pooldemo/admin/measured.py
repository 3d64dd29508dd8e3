"""What sweeps and trials have in common in the admin."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from pooldemo import records


def address(request: HttpRequest, name: str, *arguments: int | str) -> str:
    """Where the page of that name is in the same admin as the one that is asked for: a project may have several."""
    match = request.resolver_match
    return reverse(f"admin:{name}", args=arguments, current_app=match.namespace if match else None)


def is_demo() -> bool:
    """Whether this is our own site: it has workloads, and an environment that its commands are typed in."""
    return hasattr(settings, "POOL_STACK")


def readable(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view, which says in a sentence where a row is none that a sweep has written."""

    @wraps(view)
    def told(*args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(*args, **kwargs)
        except records.Unreadable as error:
            raise Http404(str(error)) from error

    return told


def posted(view: Callable[..., HttpResponse], back: str) -> Callable[..., HttpResponse]:
    """The view that a form is sent to. Who comes there by its address, as from a login that came between, is led to
    the page of the name `back`, to send it again."""

    @wraps(view)
    def sent(request: HttpRequest, **named: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseRedirect(address(request, back, *named.values()))
        return view(request, **named)

    return sent


class Measured(admin.ModelAdmin):
    """Rows that a sweep writes: not added here, and read-only but for `editable`."""

    editable: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if any(
            "\0" in value for _, values in request.GET.lists() for value in values
        ):  # no text of PostgreSQL's has one
            return HttpResponseRedirect("?e=1")
        about = {"title": str(self.opts.verbose_name_plural).capitalize(), "is_nav_sidebar_enabled": False}
        return super().changelist_view(request, about | (extra_context or {}))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields if field.name not in self.editable]

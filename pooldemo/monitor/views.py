"""What a project answers about its pools, to programs: the counters, the metrics, whether it is healthy and ready.

Nothing here takes a slot, so all of it answers while the pool is exhausted. `pooldemo/urls.py` has the addresses. Who
may see them each view says itself, and not a project's LoginRequiredMiddleware: Prometheus and balancers have no login.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.views.decorators.csrf import csrf_exempt

from pooldemo.monitor import snapshots
from pooldemo.monitor.readiness import Readiness
from pooldemo.pool import OptionError, Options
from pooldemo.postgresql.unavailable import Unavailable

HEADER, SALT, PASS_S = "X-Pooldemo-Pass", "pooldemo.pool", 900  # for clocks that differ; each request has its own
DRAINING = "POOLDEMO_DRAINING"  # names a file that is there while the server drains (deploy/drain.py)

readiness = Readiness()


@login_not_required
@csrf_exempt
def pool(request: HttpRequest) -> HttpResponse:
    """JSON: {"workers": [snapshot, ...], "sum": {stats, histograms, holders}, "site": whose}; snapshots.py has them.
    Takes no slot.

    POST ?size=8 resizes the pools of all workers, within a second or so: for this project's own commands.
    """
    if request.method == "POST":
        return _resize(request)
    request.get_host()  # refuses names of other sites: the holders' statements are not for a page that rebinds its name
    workers = snapshots.collect()
    return json_answer({"workers": workers, "sum": snapshots.total(workers), "site": site_mark()})


@login_not_required
@csrf_exempt
def guarded_pool(request: HttpRequest) -> HttpResponse:
    """The same on a public address: for the project's staff, and its own commands. Statements are nobody else's."""
    user = None if has_pass(request) else getattr(request, "user", None)
    if not has_pass(request) and not (user and user.is_active and user.is_staff):
        text = "The pools of this project are shown to its staff, and to its own `python manage.py sweep`.\n"
        return HttpResponse(text, status=403, content_type="text/plain")
    return pool(request)


def _resize(request: HttpRequest) -> HttpResponse:
    if not has_pass(request):
        return HttpResponse("Only this project's own commands may resize its pools.\n", "text/plain", 403)
    given = request.GET.get("size", "")
    try:
        snapshots.want_size(Options.read({"MAX_CONNS": given}).max_conns)
    except OptionError as error:
        return HttpResponse(f"{error}\n", "text/plain", 400)
    except OSError as error:
        return HttpResponse(f"the other workers cannot be told: {error}\n", "text/plain", 503)
    return HttpResponse(f"{given}\n", "text/plain", 202)


def has_pass(request: HttpRequest) -> bool:
    """Whether the request comes from a command of this project: the pass is signed with its SECRET_KEY, just now."""
    try:
        return signing.loads(request.headers.get(HEADER, ""), salt=SALT, max_age=PASS_S) == "pool"
    except signing.BadSignature:
        return False


class Pass(Mapping[str, str]):
    """What a command of this project sends to be let in: a header that is signed anew each time it is sent, so that
    one that a stranger got, on another project's port say, is soon worth nothing; and `more` headers beside it."""

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._more = dict(more or {})

    def __getitem__(self, name: str) -> str:
        return signing.dumps("pool", salt=SALT) if name == HEADER else self._more[name]

    def __iter__(self) -> Iterator[str]:
        return iter((HEADER, *self._more))

    def __len__(self) -> int:
        return 1 + len(self._more)


def site_mark() -> str:
    """By what a command knows its own project's site: its addresses and its database, signed with its SECRET_KEY."""
    name = connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]
    return signing.Signer(salt="pooldemo.site").signature(f"{settings.ROOT_URLCONF} {name}")


def pool_address() -> str | None:
    """Where this project answers `pool`; None: it includes no `pooldemo.urls`."""
    for name in ("pooldemo:pool", *(["pool"] if hasattr(settings, "POOL_STACK") else [])):  # the demo's own addresses
        with contextlib.suppress(NoReverseMatch):
            return reverse(name)
    return None


def is_hidden() -> bool:
    """Whether another pattern of the project takes that address first, as one that takes every address does."""
    if (address := pool_address()) is None:
        return False
    try:
        return resolve(f"/{address.removeprefix(get_script_prefix())}").url_name != "pool"
    except Resolver404:  # it leads nowhere at all, for a reason of the project's own
        return False


@login_not_required
def metrics(_request: HttpRequest) -> HttpResponse:
    """The same for Prometheus: numbers alone. Takes no slot; 501 with what to install without prometheus-client."""
    try:
        from pooldemo.monitor.metrics import CONTENT_TYPE, exposition
    except ImportError:
        text = "prometheus-client is not installed: pip install 'pooldemo[metrics]'\n"
        return HttpResponse(text, status=501, content_type="text/plain")
    return HttpResponse(exposition(snapshots.collect()), content_type=CONTENT_TYPE)


@login_not_required
def healthz(_request: HttpRequest) -> HttpResponse:
    """This worker answers. Asks nothing of the database: a restart of the worker would not mend that."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether a balancer should send more: PostgreSQL answers, on a connection past the pool, this server is not about
    to end, and with `?waiting=50` no more than so many wait for a slot in its workers; 503 with the reason if not. With
    `?patience=10` PostgreSQL may be away for so many seconds: where it is away for all, it is no reason to ask nobody.
    Blocks two seconds at most.
    """
    if os.path.exists(os.environ.get(DRAINING, "")):  # noqa: PTH110  Path's raises where the folder is another user's
        return unavailable_answer(Unavailable("Draining", "this server is about to end", 1))
    for name in ("waiting", "patience"):
        given = request.GET.get(name, "0")
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            return HttpResponse(f"{name}={given!r} is not accepted: give a whole number\n", "text/plain", 400)
    if most := request.GET.get("waiting"):
        waiting = snapshots.total(snapshots.collect()).get("requests_waiting", 0)
        if waiting > int(most):
            text = f"{waiting} waiting for a slot here, more than waiting={most}"
            return unavailable_answer(Unavailable("PoolBusy", text, 1))
    trouble = readiness.trouble(int(request.GET.get("patience", 0)))
    if trouble:
        is_shown = has_pass(request) or not getattr(settings, "EXPOSED", True)  # it may name a host and a role
        said = trouble if is_shown else "PostgreSQL does not answer, or refuses; the log says why"
        return unavailable_answer(Unavailable("DatabaseDown", said, 5))
    return HttpResponse("ready\n", content_type="text/plain")


def unavailable_answer(reason: Unavailable, **more: Any) -> HttpResponse:
    """503: {"error": a stable kind, "message", "retry_after_s", "pool": this worker's numbers, if it has a pool}."""
    answer = {"error": reason.kind, "message": reason.message, "retry_after_s": reason.retry_after_s, **more}
    get_stats = getattr(getattr(connections[DEFAULT_DB_ALIAS], "pool", None), "get_stats", None)
    if get_stats is not None:
        answer["pool"] = get_stats()
    return json_answer(answer, status=503, headers={"Retry-After": str(reason.retry_after_s)})


def json_answer(content: dict[str, Any], **response: Any) -> HttpResponse:
    return HttpResponse(json.dumps(content), content_type="application/json", **response)

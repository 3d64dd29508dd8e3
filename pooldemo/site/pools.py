"""What the running site of this project says of its pools, beside PostgreSQL's own count. Whose site answers is
compared first: at the usual address it may be another project's."""

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

from django.conf import settings

from pooldemo.monitor import server_connections, views
from pooldemo.monitor.overview import overview
from pooldemo.monitor.server_connections import Look
from pooldemo.site.address import NO_HEADERS, as_its_proxy, below_its_prefix
from pooldemo.site.errors import Unreachable

PATIENCE_S = 5.0


def settled(url: str, comparer: server_connections.Comparer, headers: Mapping[str, str] = NO_HEADERS) -> Look:
    """Look until the two numbers agree or differ; after PATIENCE_S as they are. Raises Unreachable."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (seen := look(url, comparer, headers))[1].moves and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return seen


def look(url: str, comparer: server_connections.Comparer, headers: Mapping[str, str] = NO_HEADERS) -> Look:
    """One look, by a request with those `headers`. Raises Unreachable; blocks for 7 s at most."""
    url = url.rstrip("/")
    parts = urlsplit(url)
    if (address := views.pool_address()) is None:
        raise Unreachable(
            "This project does not tell of its pools: add path('', include('pooldemo.urls')) to the urlpatterns of "
            f"{settings.ROOT_URLCONF}, and start its site anew."
        )
    address = below_its_prefix(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=PATIENCE_S)
    try:
        with closing(connection):
            connection.request("GET", parts.path + address, headers=views.Pass(as_its_proxy(url, typed=headers)))
            response = connection.getresponse()
            text = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"The site does not answer at {url} ({error}){_stopped()}. Start it{_how()}, or name another address with "
            "--url."
        ) from error
    try:
        answer = json.loads(text)
        pools, mark = overview(answer), answer.get("site")
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        if response.status == 401:
            raise Unreachable(
                f"{url}{address} answers 401: send what it asks for, with --header 'Authorization: Basic ...'"
            ) from error
        if views.is_hidden():
            raise Unreachable(
                f"{settings.ROOT_URLCONF} has pooldemo.urls below a pattern that takes {address} too: include it "
                "above that"
            ) from error
        raise Unreachable(
            f"{url}{address} answers {response.status}, but not like this site: give this site's --url"
            + (f", by a name of its ALLOWED_HOSTS ({', '.join(settings.ALLOWED_HOSTS)})" * (response.status == 400))
        ) from error
    if mark != views.site_mark():
        raise Unreachable(
            f"{url} is not the site of this project: its SECRET_KEY, ROOT_URLCONF or database is another. Give this "
            "site's --url, or start it anew if it runs on settings of before."
        )
    return pools, comparer.compare(server_connections.take(pools.application_name), pools)


def _how() -> str:
    """With what; empty where the settings do not say what gunicorn would serve, as those of a project for ASGI."""
    served = str(settings.WSGI_APPLICATION or "").rpartition(".")[0]
    return f" with `gunicorn -k gevent {served}`" if served else ""


def _stopped() -> str:
    """That the embedded PostgreSQL does not run either, where the site has one: it is not started to be looked at."""
    server = getattr(settings, "EMBEDDED", None)
    return "" if server is None or server.status().running else ", and its PostgreSQL is stopped"

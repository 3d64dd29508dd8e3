"""Who guesses passwords at the admin's door waits: a few tries a minute for a name, more for an address.

A try costs this process the hashing of a password, during which no other greenlet runs: so it is refused before. Each
worker counts for itself, in memory. Behind a balancer all visitors have its address: settings.PROXIES says how many
stand before the site, so that the visitor is whom the outermost of them names in X-Forwarded-For, and nobody else.
"""

import ipaddress
import math
import time
import unicodedata
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.urls import Resolver404, resolve

WINDOW_S = 60.0
FOR_A_NAME, FOR_AN_ADDRESS = 5, 30
REMEMBERED = 10_000  # names and addresses; the oldest are forgotten


class Tries:
    """Failed tries by key in the last WINDOW_S seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._tries: dict[tuple[str, ...], list[float]] = {}

    def wait_s(self, limits: Mapping[Any, int]) -> float:
        """0 and one try counted for each key; or the seconds until all of them may, and none counted."""
        now_s = self._clock()
        with self._lock:
            waits = [0.0]
            for key, limit in limits.items():
                recent = [at_s for at_s in self._tries.pop(key, []) if at_s > now_s - WINDOW_S]
                if len(recent) >= limit:
                    waits.append(recent[-limit] + WINDOW_S - now_s)
                if recent:
                    self._tries[key] = recent
            if max(waits) == 0:
                for key in limits:
                    self._tries.setdefault(key, []).append(now_s)
            while len(self._tries) > REMEMBERED:
                del self._tries[next(iter(self._tries))]
            return max(waits)

    def take_back(self, keys: Mapping[Any, int]) -> None:
        """The last try was none: it succeeded, or was not decided."""
        with self._lock:
            for key in keys:
                if self._tries.get(key):
                    self._tries[key].pop()


def _is_login(request: HttpRequest) -> bool:
    try:
        return resolve(request.path_info).view_name == "admin:login"
    except Resolver404:
        return False


def visitor(request: HttpRequest) -> str:
    """The address that asks; of IPv6 the network, as a household has so many addresses that no end of them would do."""
    address: str = request.META.get("REMOTE_ADDR", "")
    if settings.PROXIES:  # each has added whom it was asked by; what stands before those anybody may have written
        told = ["", *request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        address = told[max(-settings.PROXIES, -len(told))].strip() or address
    host, _, port = address.rpartition(":")
    if port.isdecimal() and (host.endswith("]") or "." in host):  # some proxies tell it too, another each time
        address = host
    try:
        ip = ipaddress.ip_address(address.strip("[]"))
    except ValueError:  # a unix socket has none
        return address[:50]
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip), 64), strict=False))
    return str(ip)


def account(request: HttpRequest) -> str:
    """The name that is tried, as the login form reads it: in one spelling, without the spaces around it."""
    try:
        name = request.POST.get("username", "")
    except UnreadablePostError:  # the visitor has gone: refused by whoever asks for the form's token
        return ""
    return unicodedata.normalize("NFKC", name.strip())[:150].casefold()


class LoginThrottle:
    """The middleware: 429 with Retry-After for a login that would be one try too many."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse], tries: Tries | None = None) -> None:
        self._get_response, self._tries = get_response, tries or Tries()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or not _is_login(request):
            return self._get_response(request)
        address, name = visitor(request), account(request)
        limits = {(address, name): FOR_A_NAME, (address,): FOR_AN_ADDRESS}
        if wait_s := self._tries.wait_s(limits):
            seconds = math.ceil(wait_s)
            text = f"Too many logins failed, or are still under way. Try again in {seconds} s.\n"
            return HttpResponse(text, "text/plain", 429, headers={"Retry-After": str(seconds)})
        response = self._get_response(request)
        if response.status_code != 200:  # the form again: the password was wrong
            self._tries.take_back(limits)
        return response

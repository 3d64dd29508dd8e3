"""How a sweep comes in where views want a login: a session that ends with it, and headers as typed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from pooldemo.site.address import as_its_proxy
from pooldemo.site.errors import Unfit

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


@contextmanager
def admitted(options: Mapping[str, Any], host: str = "") -> Iterator[dict[str, str]]:
    """The headers that requests are sent with, to the site that runs at `host` if any, as long as the block lasts.
    Raises Unfit."""
    if options["locustfile"] and (options["login"] or options["header"]):
        raise Unfit("a --locustfile logs in by itself: leave out --login and --header")
    asked = headers_of(options["header"] or ())
    proxys = as_its_proxy(host, typed=asked) if host and not options["locustfile"] else {}
    with logged_in(options["login"]) as headers:
        yield proxys | headers | asked


@contextmanager
def logged_in(name: str | None) -> Iterator[dict[str, str]]:
    """The headers with which requests come from that user, by a session that ends with the block; none for no name.

    Raises Unfit when there is no such user, or no session that the project's servers would know.
    """
    if name is None:
        yield {}
        return
    if not any("SessionMiddleware" in each for each in settings.MIDDLEWARE):
        raise Unfit("--login makes a session, and MIDDLEWARE has no SessionMiddleware: use --header 'Name: value'")
    alias = settings.SESSION_CACHE_ALIAS
    if settings.SESSION_ENGINE.endswith(".cache") and isinstance(caches[alias], LocMemCache | DummyCache):
        raise Unfit(
            f"--login makes a session, and CACHES[{alias!r}] keeps it in this process's own memory, where no server "
            "finds it: take another SESSION_ENGINE or cache"
        )
    users: Any = get_user_model()
    user = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
    if user is None:
        raise Unfit(f"--login {name}: there is no user whose {users.USERNAME_FIELD} is that")
    backend = next((path for path in settings.AUTHENTICATION_BACKENDS if _lets_in(path, user)), None)
    if backend is None:
        raise Unfit(f"--login {name}: none of AUTHENTICATION_BACKENDS lets that user in (is_active={user.is_active})")
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = backend
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    try:
        yield {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session.session_key}"}
    finally:
        session.delete()


def _lets_in(path: str, user: Any) -> bool:
    """Whether that backend knows who is logged in: some know permissions alone, and none an inactive user."""
    get_user = getattr(load_backend(path), "get_user", None)
    return get_user is not None and get_user(user.pk) is not None


def headers_of(given: Sequence[str]) -> dict[str, str]:
    """`Name: value` as given on the command line. Raises Unfit."""
    headers = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not TOKEN.fullmatch(name.strip()) or not text.isprintable():
            raise Unfit(f"--header {text!r} is no header: give one as 'Authorization: Bearer abc'")
        if not all(each <= "\xff" for each in value):
            raise Unfit(f"--header {text!r}: a header has characters of Latin-1 alone")
        headers[name.strip()] = value.strip()
    return headers

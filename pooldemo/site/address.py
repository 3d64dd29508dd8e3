"""Addresses of sites, as typed, and what is sent to be let in there."""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host
from django.urls import get_script_prefix

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def is_address(url: str, *schemes: str) -> bool:
    """Whether a site can be asked there: a scheme of these, a host, perhaps a port, and what http.client takes."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna") and parts.port != 0
    except ValueError:
        return False
    return bool(host) and parts.scheme in schemes and url.isascii() and url.isprintable() and " " not in url


def below_its_prefix(path: str) -> str:
    """A path of this project as its server takes it: FORCE_SCRIPT_NAME is what a proxy before it takes away."""
    return f"/{path.removeprefix(get_script_prefix())}"


def as_its_proxy(*urls: str, typed: Mapping[str, str] = NO_HEADERS) -> dict[str, str]:
    """The headers with which this project's site answers there as it does behind its proxy: a name of ALLOWED_HOSTS
    where that of the address is none, and the word that the visitor came by https where it wants that. Not by https:
    what has the certificate of that name is asked by it, and may know no other. Headers that were `typed` go before."""
    parts, names, headers = [urlsplit(url) for url in urls], settings.ALLOWED_HOSTS, {}
    parts = [each for each in parts if each.scheme == "http"]
    hosts = [f"[{each.hostname}]" if ":" in (each.hostname or "") else each.hostname or "" for each in parts]
    if names and not all(validate_host(host, names) for host in hosts):
        headers["Host"] = names[0].removeprefix(".")
    if settings.SECURE_SSL_REDIRECT and parts:
        name, value = settings.SECURE_PROXY_SSL_HEADER or ("HTTP_X_FORWARDED_PROTO", "https")  # which gunicorn knows
        headers[name.removeprefix("HTTP_").replace("_", "-").title()] = value
    names_typed = {name.lower() for name in typed}
    return {name: value for name, value in headers.items() if name.lower() not in names_typed} | dict(typed)

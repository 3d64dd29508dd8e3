"""Addresses of sites, as typed."""

from urllib.parse import urlsplit

from django.urls import get_script_prefix


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

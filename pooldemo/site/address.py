"""Addresses of sites, as typed."""

from urllib.parse import urlsplit


def is_address(url: str, *schemes: str) -> bool:
    """Whether a site can be asked there: a scheme of these, a host, perhaps a port, and what http.client takes."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna") and parts.port != 0
    except ValueError:
        return False
    return bool(host) and parts.scheme in schemes and url.isascii() and url.isprintable() and " " not in url

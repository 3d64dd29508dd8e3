"""Static files under names of their content: a browser keeps them for years, and asks anew only for what has changed.

Nothing is collected or written: the hash is taken of the file where it lies, once a process.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]


class HashedNames(StaticFilesStorage):
    """What `{% static %}` writes: `admin.css` as `admin.3fa85f64b7c1.css`. While DEBUG is on, plain names."""

    def url(self, name: str | None) -> str:
        path = None if settings.DEBUG or not name else _found(name)
        return super().url(hashed(name, path) if name and path else name)


class StaticFiles(WhiteNoiseMiddleware):
    """Serves each file under its own name for a minute, and under the one with its hash for as long as one likes."""

    def add_file_to_dictionary(self, url: str, path: str, stat_cache: Any = None) -> None:
        super().add_file_to_dictionary(url, path, stat_cache=stat_cache)
        super().add_file_to_dictionary(hashed(url, path), path, stat_cache=stat_cache)

    def immutable_file_test(self, path: str, url: str) -> bool:
        return f".{_hash(path)}." in url


def hashed(name: str, path: str) -> str:
    """The name with the hash of the file at `path`, before its ending."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{_hash(path)}.{ending}" if stem else name


@cache
def _found(name: str) -> str | None:
    path = finders.find(name)
    return path if path and Path(path).is_file() else None


@cache
def _hash(path: str) -> str:
    return sha256(Path(path).read_bytes()).hexdigest()[:12]

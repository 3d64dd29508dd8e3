"""The least that ten at a time can cost: this site over connections that are kept, behind gevent's bare semaphore.

A WSGI application for gunicorn. Nobody connects, gives back, is counted or looked at; whoever is the eleventh waits.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application
from gevent.lock import BoundedSemaphore

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
_site = get_wsgi_application()
_slots = BoundedSemaphore(int(os.environ["MAX_CONNS"]))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The site's answer, once there is room."""
    _slots.acquire(timeout=30)
    try:
        return _site(environ, start_response)
    finally:
        _slots.release()

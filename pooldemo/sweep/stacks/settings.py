"""The settings of the project that is swept, with its default database on the stack, and at the size, of the trial.

A server of a sweep finds this module by DJANGO_SETTINGS_MODULE, the project's own by POOLDEMO_SETTINGS. So a project is
measured on any stack without a line of its settings being changed. POOL_STACK empty: the pool that it has, resized;
POOLDEMO_OWN_STACK is what that is.
"""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from pooldemo.sweep import stacks
from pooldemo.sweep.stacks import pooldemo as ours

_ours = os.environ["DJANGO_SETTINGS_MODULE"]
os.environ["DJANGO_SETTINGS_MODULE"] = os.environ["POOLDEMO_SETTINGS"]  # by which they, and who imports them, go
_theirs = import_module(os.environ["POOLDEMO_SETTINGS"])
os.environ["DJANGO_SETTINGS_MODULE"] = _ours
globals().update({name: getattr(_theirs, name) for name in dir(_theirs) if name.isupper()})


def with_errors(logging: Any) -> Any:
    """A LOGGING by which errors of pages go to standard error, too: a sweep shows them to whoever typed it. One that is
    not for dictConfig, as another LOGGING_CONFIG may want it, stays as it is."""
    if not isinstance(logging, dict):
        return logging
    handlers = {**logging.get("handlers", {}), "pooldemo": {"class": "logging.StreamHandler"}}
    loggers = {**logging.get("loggers", {}), "django.request": {"handlers": ["pooldemo"], "level": "ERROR"}}
    return {"disable_existing_loggers": False, **logging, "version": 1, "handlers": handlers, "loggers": loggers}


def resized(config: dict[str, Any], size: int, is_djangos: bool = False) -> dict[str, Any]:
    """A `DATABASES` entry whose pool has `size` slots, without what is bound to another size or hides the server.

    `is_djangos`: the pool is Django's own, whatever ENGINE is called.
    """
    bound = ("REUSE_CONNS", "MIN_CONNS", "application_name")  # the last one is how PostgreSQL knows a trial's server
    options = {name: value for name, value in config.get("OPTIONS", {}).items() if name not in bound}
    if is_djangos:
        given = pool if isinstance(pool := options["pool"], dict) else {}
        options["pool"] = {**given, "min_size": min(given.get("min_size", 4), size), "max_size": size}
    else:
        options["MAX_CONNS"] = size
    return {**config, "OPTIONS": options}


def apart(config: dict[str, Any]) -> dict[str, Any]:
    """The entry of another database, whose connections have a name of their own where it is PostgreSQL's.

    By a trial's name those of the default one are counted.
    """
    if "postg" not in config.get("ENGINE", ""):
        return config
    return {**config, "OPTIONS": {"application_name": "sweep-other", **config.get("OPTIONS", {})}}


def _default() -> dict[str, Any]:
    config, size, stack = _theirs.DATABASES["default"], int(os.environ["MAX_CONNS"]), os.environ["POOL_STACK"]
    own = ("pool", "POOL_MODE") if stack else ()  # which a stack brings: it is named for them
    options = {name: value for name, value in config.get("OPTIONS", {}).items() if name not in own}
    config = {**config, "OPTIONS": {**options, **json.loads(os.environ.get("POOLDEMO_OPTIONS", "{}"))}}
    if not stack:
        return resized(config, size, os.environ["POOLDEMO_OWN_STACK"] == "psycopg-pool")
    made = stacks.database(stack, resized(config, size))
    # A backend that is made from ours, as django-tenants' may be, is on ours already, and its project needs it.
    stays = made["ENGINE"].startswith(ours.ENGINE) and os.environ["POOLDEMO_OWN_STACK"].startswith(ours.STACK.name)
    return {**made, "ENGINE": config["ENGINE"]} if stays else made


# django-configurations makes settings of a class, theirs just now; it wants one of that name here, too.
if _class := os.environ.get("DJANGO_CONFIGURATION"):
    _steps = ("pre_setup", "setup", "post_setup")
    globals()[_class] = type(_class, (), dict.fromkeys(_steps, staticmethod(lambda: None)))

# It is asked on a port of this machine, over plain HTTP and by no name; nobody else can.
ALLOWED_HOSTS = [*getattr(_theirs, "ALLOWED_HOSTS", ()), "127.0.0.1"]
SECURE_SSL_REDIRECT = PREPEND_WWW = False
if "POOLDEMO_LOG_ERRORS" in os.environ:
    LOGGING = with_errors(getattr(_theirs, "LOGGING", {}))
Path(os.environ["POOLDEMO_SETTINGS_READ"]).touch()  # a wsgi.py that names its settings itself would go unnoticed
DATABASES = {name: apart(config) for name, config in _theirs.DATABASES.items()} | {"default": _default()}

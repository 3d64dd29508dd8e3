"""How this site is put together. What differs between machines comes from the environment (docs/settings.md).

Importing this starts nothing: `manage.py` and `wsgi.py` call `EMBEDDED.ensure()`.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from pooldemo.embedded import EmbeddedError, EmbeddedPostgres, make_local
from pooldemo.sweep import stacks

from .environment import SettingError, count, database, flag, words
from .secret import install_secret

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_DIR = BASE_DIR / ".local"  # what this install made for itself: secret, embedded database; git-ignored
LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]


def _embedded() -> EmbeddedPostgres:
    make_local(LOCAL_DIR)
    for name in [each for each in os.environ if each.startswith("PG") and each != "PGAPPNAME"]:
        del os.environ[name]  # PGSERVICE, PGOPTIONS and their like mean another server of this user
    return EmbeddedPostgres(LOCAL_DIR)


def _secret() -> str:
    try:
        make_local(LOCAL_DIR)
        return install_secret(LOCAL_DIR / "secret_key")
    except OSError as error:
        raise SettingError(
            f"{error.filename or LOCAL_DIR} cannot be written ({error.strerror}), where the secret of this install is "
            "kept: set SECRET_KEY to a long random text. A sweep and the embedded PostgreSQL write there as well: for "
            "them, work in a copy of this folder that is yours (cp -r . ~/pooldemo)"
        ) from error


try:
    DEBUG = flag(os.environ, "DEBUG", default=False)
    ALLOWED_HOSTS = words(os.environ, "ALLOWED_HOSTS", default=LOOPBACK)
    WEB_CONCURRENCY = count(os.environ, "WEB_CONCURRENCY", default=1)  # worker processes; gunicorn reads it as well
    # Others than this machine's users reach it: it has a name, or, as gunicorn.conf.py says, listens beyond loopback.
    EXPOSED = flag(os.environ, "EXPOSED", default=not set(ALLOWED_HOSTS) <= set(LOOPBACK))
    # Made to load the database, for whoever asks: only where nobody else can, unless switched on.
    WORKLOADS = flag(os.environ, "WORKLOADS", default=not EXPOSED)
    WEB_HOSTS = count(os.environ, "WEB_HOSTS", default=1)  # machines that serve it; postgresql/budget.py reads it too
    PROXIES = count(os.environ, "PROXIES", default=0, least=0)  # before it, each of which adds to X-Forwarded-For
    POOL_STACK = os.environ.get("POOL_STACK") or "pooldemo"
    EMBEDDED = None if os.environ.get("DATABASE_URL") else _embedded()
    DATABASE_URL = EMBEDDED.url if EMBEDDED else os.environ["DATABASE_URL"]
    DATABASES: dict[str, Any] = {"default": stacks.database(POOL_STACK, database(DATABASE_URL, os.environ))}
    SECRET_KEY = os.environ.get("SECRET_KEY") or _secret()
except (SettingError, EmbeddedError, ValueError) as error:  # ValueError: no such stack
    print(f"{error}", file=sys.stderr)  # noqa: T201  logging is not configured yet
    sys.exit(2)

INSTALLED_APPS = [
    "pooldemo",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "pooldemo.postgresql.DeadlineMiddleware",
    "pooldemo.demo.middleware.PooldemoMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "project.static_files.StaticFiles",
    "project.throttle.LoginThrottle",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
DEFAULT_EXCEPTION_REPORTER_FILTER = "project.reporter.Filter"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],  # the answers of this site to 400, 403, 404, 500, 503
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LOGIN_REDIRECT_URL = "admin:index"  # for who opened the login by itself; Django's own, /accounts/profile/, is not here
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A site with a name is behind something that speaks TLS for it; on loopback there is only plain HTTP, over which a
# secure cookie does not come back.
_NAMED = [host for host in ALLOWED_HOSTS if host not in LOOPBACK]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = bool(_NAMED)
CSRF_TRUSTED_ORIGINS = [f"https://{'*' if host.startswith('.') else ''}{host}" for host in _NAMED if host != "*"]
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # HSTS is a promise about a name for a year: whoever speaks TLS for that name makes it
    "pooldemo.I002",  # django-db-geventpool is installed to be compared with, and has written no rows here
    "security.W008",  # gunicorn has no TLS to redirect to, and /healthz is asked over plain HTTP
] + ([] if _NAMED else ["security.W012", "security.W016"])  # secure cookies: see above

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
# Anybody may send a form. A larger one is refused before it is read, and a file, which no page takes, is thrown away
# as it comes: both would be in memory, or in the temporary folder, for as long as the rest of them is on its way.
DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 0
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "project.static_files.HashedNames"},
}
DATETIME_FORMAT = "Y-m-d H:i e"  # as everywhere: sweep/report/moment.py


def _not_refused(record: logging.LogRecord) -> bool:
    return getattr(record, "status_code", None) != 503


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"}},
    # No slot in time is an answer, not an accident: thousands a second in an overloaded trial. /metrics counts them.
    "filters": {"not_refused": {"()": "django.utils.log.CallbackFilter", "callback": _not_refused}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["not_refused"]}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # Django's own default mails the administrators, of whom there are none, and hides errors unless DEBUG.
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "pooldemo": {"level": "INFO"},
        "gunicorn.http.wsgi": {"level": "ERROR"},  # it warns of each HEAD, whose body Django leaves to it to drop
    },
}

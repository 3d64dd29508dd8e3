"""The environment's strings -> the values that settings need, or one sentence. Pure: nothing is read from the machine.

A value that makes no sense raises SettingError with what was given and what is accepted; none is silently corrected.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import environ

from pooldemo.pool.options import ROWS, OptionError, Options

SCHEMES = ("postgres", "postgresql")
URL_FORM = "postgres://user:password@host:5432/name?MAX_CONNS=20"
SITE_MAX_CONNS = 20
POOL_VARIABLES = ("MAX_CONNS", "REUSE_CONNS", "POOL_TIMEOUT", "MAX_WAITING", "OVERLOAD", "POOL_MODE")  # one each
CONNECTION_KEYS = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
KNOWN = {row.name for row in ROWS}
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class SettingError(Exception):
    """A setting from the environment makes no sense; the text says what was given and what is accepted."""


def database(url: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """The `DATABASES` entry, without ENGINE, for a PostgreSQL address whose query may hold pool options.

    Precedence: an environment variable beats the query string, which beats the site's default. Thus one exported
    address serves a whole sweep, which sets MAX_CONNS for each trial. Lower-case keys are libpq's (`sslmode=require`).
    """
    try:
        scheme = urlsplit(url).scheme
        config: dict[str, Any] = environ.Env.db_url_config(url) if scheme in SCHEMES else {}
    except ValueError as error:
        raise SettingError(
            f"DATABASE_URL={without_password(url)!r} cannot be read. Give {URL_FORM}, with / ? # @ : % in a name or "
            "password written as %2F %3F %23 %40 %3A %25"
        ) from error
    if any("\0" in str(value) for value in config.values()):
        raise SettingError(f"DATABASE_URL={without_password(url)!r} holds a NUL (%00): leave it out. Give {URL_FORM}")
    if not config:
        raise SettingError(f"DATABASE_URL={without_password(url)!r} is no PostgreSQL address. Give {URL_FORM}")
    config.pop("ENGINE")
    config["HOST"] = unquote(config["HOST"])
    options = config.pop("OPTIONS", {})
    for key, name in CONNECTION_KEYS.items():  # as settings, so that `dbshell` sees them
        if key in options:
            config[name] = str(options.pop(key))
    if not config["NAME"]:
        raise SettingError(f"DATABASE_URL={without_password(url)!r} names no database. Give {URL_FORM}")
    pool = {"MAX_CONNS": SITE_MAX_CONNS, **{key: value for key, value in options.items() if key.isupper()}}
    pool.update({name: variables[name] for name in POOL_VARIABLES if variables.get(name)})
    try:
        read = Options.read(pool)
    except OptionError as error:
        raise SettingError(f"{error} It stands in the environment or in DATABASE_URL's query.") from error
    libpq = {key: value for key, value in options.items() if not key.isupper()}
    if small := next((key for key in libpq if key.upper() in KNOWN), ""):
        raise SettingError(
            f"DATABASE_URL={without_password(url)!r}: {small!r} is no option of libpq; did you mean {small.upper()}?"
        )
    config["OPTIONS"] = libpq | {name: getattr(read, name.lower()) for name in pool}
    return config


def flag(variables: Mapping[str, str], name: str, *, default: bool) -> bool:
    """The variable as yes or no."""
    given = variables.get(name, "").strip().lower()
    if not given:
        return default
    if given not in YES + NO:
        raise SettingError(f"{name}={variables[name]!r} is not accepted: give {', '.join(YES)} or {', '.join(NO)}")
    return given in YES


def count(variables: Mapping[str, str], name: str, *, default: int, least: int = 1) -> int:
    """The variable as a whole number from `least`."""
    given = variables.get(name, "").strip()
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 19 and int(given) >= least):
        raise SettingError(f"{name}={variables[name]!r} is not accepted: give a whole number from {least}")
    return int(given)


def words(variables: Mapping[str, str], name: str, *, default: list[str]) -> list[str]:
    """The variable as words between commas."""
    return [word.strip() for word in variables.get(name, "").split(",") if word.strip()] or default


def without_password(url: str) -> str:
    """The address as it may be shown, whatever characters its password has: rather too little than too much."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    if not at or "?" in name or "/" in name:  # that @ stands in the query
        name, colon, at, place = "", "", "", rest
    head, word, _ = place.partition("password=")
    return f"{scheme}{separator}{name}{':***' if colon else ''}{at}{head}{word and word + '***'}"

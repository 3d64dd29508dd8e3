"""System checks for whoever moves here from another pool: what is left of it in a project, with the line to change.

gunicorn.conf.py is read as text, in the folder where the check is typed, which is where gunicorn reads it.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from django.core import checks
from django.db import Error, connections

from .unpooled import plain_connection

# Django's own pool -> the option here that means the same. `reset` and `check` have no counterpart to copy.
OPTIONS = {
    "max_size": "MAX_CONNS", "min_size": "MIN_CONNS", "timeout": "POOL_TIMEOUT", "max_waiting": "MAX_WAITING",
    "max_lifetime": "MAX_LIFETIME", "max_idle": "MAX_IDLE",
}  # fmt: skip
SQLALCHEMY = {"TIMEOUT": "POOL_TIMEOUT", "RECYCLE": "MAX_LIFETIME"}  # django-db-connection-pool's; -1 is none
PSYCOGREEN = re.compile(r"\bpatch_psycopg\s*\(|\bpsycogreen\b")
PRELOAD = re.compile(r"^\s*preload_app\s*=\s*True\b")
# Of an expression: what ends soon, and reaches nothing. A power may have more digits than there are atoms.
PLAIN = (
    ast.Constant, ast.Name, ast.Call, ast.keyword, ast.Subscript, ast.expr_context, ast.IfExp, ast.Compare, ast.cmpop,
    ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv,
)  # fmt: skip
ASKED = ("environ", "get", "getenv")
PRELOAD_ARGUMENT = re.compile(r"(^|\s)--preload(\s|$)")


def pool_of_django(where: str, pool: Mapping[str, Any]) -> checks.CheckMessage:
    """What to write in place of `"pool": {...}`."""
    pool = {**pool, "max_size": pool.get("max_size") or pool.get("min_size", 4)}  # psycopg_pool's own default
    options = {OPTIONS[name]: value for name, value in pool.items() if name in OPTIONS}
    return checks.Error(
        f"{where}['OPTIONS']['pool'] is Django's own pool's; here the options stand in OPTIONS itself.",
        hint=f"del {where}['OPTIONS']['pool']; {where}['OPTIONS'] |= {options!r}",
        id="pooldemo.E001",
    )


def of_sqlalchemy(where: str, settings: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    """What to write in place of django-db-connection-pool's `"POOL_OPTIONS": {...}`, which stands beside OPTIONS."""
    if not isinstance(pool := settings.get("POOL_OPTIONS"), Mapping):
        return
    kept, overflow = (_whole(pool.get(name)) for name in ("POOL_SIZE", "MAX_OVERFLOW"))  # overflow -1 has no limit
    options = {"MAX_CONNS": kept + max(0, overflow)}
    options |= {ours: pool[its] for its, ours in SQLALCHEMY.items() if pool.get(its, -1) != -1}
    yield checks.Warning(
        f"{where}['POOL_OPTIONS'] is django-db-connection-pool's, and has no effect here.",
        hint=f"del {where}['POOL_OPTIONS']; {where}['OPTIONS'] |= {options!r}",
        id="pooldemo.W005",
    )


def _whole(given: Any) -> int:
    """Its default where nothing is given, or no number."""
    try:
        return int(given)
    except (TypeError, ValueError, OverflowError):
        return 10


def in_gunicorn_conf(path: Path) -> Iterator[checks.CheckMessage]:
    """What its lines do that is not needed, or must not be."""
    try:
        lines = _source(path).decode(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, start=1):
        code = line.partition("#")[0]
        if PRELOAD.search(code):
            yield _preload(f"{path.name}:{number}: preload_app = True", "preload_app = False")
        if PSYCOGREEN.search(code):
            yield checks.Info(
                f"{path.name}:{number}: psycogreen is not needed: ENGINE makes the driver yield by itself.",
                hint=f"delete `{line.strip()}`, and a function that is empty then",
                id="pooldemo.I001",
            )


def _source(path: Path) -> bytes:
    """What stands in the file. Raises OSError, also where it is none: nobody may ever write into a pipe."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path.read_bytes()


def _preload(what: str, hint: str) -> checks.CheckMessage:
    return checks.Warning(
        f"{what} imports Django before gevent's monkey patch, and one connection would then serve all greenlets of a "
        "worker: with `gunicorn -k gevent` the first query is refused.",
        hint=hint,
        id="pooldemo.W004",
    )


class Workers(NamedTuple):
    """The line of gunicorn.conf.py that sets `workers`, and how many those are; None: only gunicorn can tell."""

    line: int
    number: int | None = None


def workers_in_gunicorn_conf(path: Path, environ: Mapping[str, str]) -> Workers | None:
    """How many it sets in that environment; None: it leaves that to WEB_CONCURRENCY.

    Nothing of it is run but what stands behind `workers =`, and that only if it reckons with numbers and asks the
    environment alone: the processors of the machine that checks are not those of the one that serves.
    """
    try:
        tree = ast.parse(_source(path), str(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # gunicorn does not start with it either
        return None
    inside = {each for hook in ast.walk(tree) if isinstance(hook, ast.FunctionDef) for each in ast.walk(hook)}
    places: list[Any] = [each for each in ast.walk(tree) if _name(each) in ("workers", "*") and each not in inside]
    if not places:
        return None
    last = max(places, key=lambda each: (each.lineno, each.col_offset))
    values = {each.targets[0]: each.value for each in tree.body if isinstance(each, ast.Assign)}
    if (value := values.get(last)) is None:
        return Workers(last.lineno)
    names = {"os": SimpleNamespace(environ=environ, getenv=environ.get), "environ": environ, "getenv": environ.get}
    names |= {"__builtins__": {}, "int": int, "max": max, "min": min}
    try:
        is_plain = all(isinstance(each, PLAIN) or getattr(each, "attr", "") in ASKED for each in ast.walk(value))
        number = int(eval(ast.unparse(value), names)) if is_plain else 0  # noqa: S307  nothing else can be reached
    except Exception:
        number = 0
    return Workers(last.lineno, number if number > 0 else None)


def _name(node: ast.AST) -> str:
    """What the node gives a value to, by assignment or import; empty for any other."""
    if isinstance(node, ast.alias):
        return node.asname or node.name
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else ""


@checks.register("pooldemo")
def check_gunicorn(**_: Any) -> list[checks.CheckMessage]:
    """How gunicorn is told to start this project. Opens no connection. Another pool may need what this one does not."""
    if not any(hasattr(type(each), "pool_options") for each in connections.all()):
        return []
    found = list(in_gunicorn_conf(Path("gunicorn.conf.py")))
    if PRELOAD_ARGUMENT.search(os.environ.get("GUNICORN_CMD_ARGS", "")):
        found.append(_preload("GUNICORN_CMD_ARGS with --preload", "leave out --preload"))
    return found


@checks.register(checks.Tags.database)
def check_time_zone(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Rows that django-db-geventpool may have written in another time zone; asks only with `check --database`."""
    found: list[checks.CheckMessage] = []
    if find_spec("django_db_geventpool") is None:
        return found
    for alias in databases or ():
        wrapper = connections[alias]
        if not hasattr(type(wrapper), "pool_options"):
            continue
        try:
            with closing(plain_connection(alias)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")
                (zone,) = cursor.fetchone()
        except Error:  # whoever asked for the database hears of it
            continue
        ours = wrapper.timezone_name
        if zone not in (ours, {"UTC": "Etc/UTC", "Etc/UTC": "UTC"}.get(ours)):
            found.append(
                checks.Info(
                    f"{alias}: PostgreSQL's own time zone is {zone}, this project's {ours}. On Django 5.1 and later "
                    "django-db-geventpool, which is installed, did not set the project's: values that now() in SQL, or "
                    "a column's default, wrote then are wrong by the difference. New values are right.",
                    hint="correct such rows, as in UPDATE ... SET at = at + interval '...'; then pip uninstall "
                    "django-db-geventpool, once nothing imports its close_connection any more (`finally: "
                    "connection.close()` does the same).",
                    id="pooldemo.I002",
                )
            )
    return found

"""The settings that a sweep puts before those of a project: its pool resized, or another in its place."""

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from served import ROOT

from pooldemo.sweep.stacks import database, geventpool

OURS, DJANGOS = "pooldemo.postgresql", "django.db.backends.postgresql"
OVER_OURS = "django_tenants.postgresql_backend"
OVER_DJANGOS = "django_prometheus.db.backends.postgresql"  # or any other that is made from it
GEVENTPOOL = f"django_db_geventpool.backends.postgresql_{'psycopg3' if find_spec('psycopg') else 'psycopg2'}"


@pytest.mark.parametrize(
    ("engine", "options", "stack", "becomes"),
    [
        (OURS, {"MAX_CONNS": 9, "REUSE_CONNS": 9, "RESET": "always"}, "", (OURS, {"MAX_CONNS": 3, "RESET": "always"})),
        (OURS, {"application_name": "shop"}, "", (OURS, {"MAX_CONNS": 3})),
        (GEVENTPOOL, {"MAX_CONNS": 9, "MIN_CONNS": 2}, "", (GEVENTPOOL, {"MAX_CONNS": 3})),
        (DJANGOS, {"pool": True}, "", (DJANGOS, {"pool": {"min_size": 3, "max_size": 3}})),
        (
            DJANGOS,
            {"pool": {"max_size": 9, "min_size": 1, "timeout": 5}},
            "",
            (DJANGOS, {"pool": {"max_size": 3, "min_size": 1, "timeout": 5}}),
        ),
        (OVER_DJANGOS, {"pool": True}, "", (OVER_DJANGOS, {"pool": {"min_size": 3, "max_size": 3}})),
        (
            DJANGOS,
            {"sslmode": "disable", "pool": True},
            "pooldemo",
            (OURS, {"sslmode": "disable", "MAX_CONNS": 3}),
        ),
        ("django.contrib.gis.db.backends.postgis", {}, "pooldemo", (f"{OURS}.postgis", {"MAX_CONNS": 3})),
        (OURS, {"MAX_CONNS": 9, "POOL_TIMEOUT": 5}, "geventpool", (GEVENTPOOL, {"MAX_CONNS": 3})),
        (OURS, {"POOL_MODE": "transaction"}, "", (OURS, {"POOL_MODE": "transaction", "MAX_CONNS": 3})),
        (OURS, {"POOL_MODE": "transaction"}, "pooldemo", (OURS, {"MAX_CONNS": 3})),
        (OURS, {}, "pooldemo-transaction", (OURS, {"POOL_MODE": "transaction", "MAX_CONNS": 3})),
        (OVER_OURS, {}, "pooldemo-transaction", (OVER_OURS, {"POOL_MODE": "transaction", "MAX_CONNS": 3})),
        (OVER_OURS, {}, "geventpool", (GEVENTPOOL, {"MAX_CONNS": 3})),
    ],
)
def test_it_resizes_the_pool_that_a_project_has_or_puts_another_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engine: str,
    options: dict[str, Any],
    stack: str,
    becomes: tuple[str, dict[str, Any]],
) -> None:
    default = {"ENGINE": engine, "NAME": "shop", "CONN_MAX_AGE": 60, "OPTIONS": options}
    databases = {"default": default, "other": {"NAME": "other"}, "archive": {"ENGINE": OURS, "NAME": "archive"}}
    theirs = "SECRET = 'theirs'\nSECURE_SSL_REDIRECT = True\nALLOWED_HOSTS = ['shop.example']\n"
    (tmp_path / "shop_settings.py").write_text(f"{theirs}DATABASES = {databases!r}\n")
    given = {"POOLDEMO_SETTINGS": "shop_settings", "POOLDEMO_SETTINGS_READ": str(tmp_path / "read")}
    given["DJANGO_SETTINGS_MODULE"] = "pooldemo.sweep.stacks.settings"
    is_on_ours = engine in (OURS, OVER_OURS) or not stack
    given["POOLDEMO_OWN_STACK"] = "psycopg-pool" if "pool" in options else "pooldemo" if is_on_ours else ""
    for name, value in (given | {"MAX_CONNS": "3", "POOL_STACK": stack}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop_settings", "pooldemo.sweep.stacks.settings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    settings: Any = import_module("pooldemo.sweep.stacks.settings")
    assert settings.SECRET == "theirs"
    assert settings.with_errors({})["loggers"]["django.request"]["level"] == "ERROR"
    assert settings.with_errors(None) is None, "LOGGING_CONFIG is None beside it, or a function of theirs"
    assert settings.DATABASES["other"] == {"NAME": "other"}
    assert settings.DATABASES["archive"]["OPTIONS"] == {"application_name": "sweep-other"}, "not the trial's"
    assert (settings.SECURE_SSL_REDIRECT, settings.ALLOWED_HOSTS) == (False, ["shop.example", "127.0.0.1"])
    assert (settings.DATABASES["default"]["ENGINE"], settings.DATABASES["default"]["OPTIONS"]) == becomes
    assert settings.DATABASES["default"]["CONN_MAX_AGE"] == (60 if not stack or engine == becomes[0] == OURS else 0), (
        "another pool asks for 0"
    )
    assert (tmp_path / "read").exists()


CONFIGURATIONS = """
import importlib.util, os, sys
from importlib.machinery import ModuleSpec, PathFinder


class Importer:
    # as django-configurations has it: the settings that DJANGO_SETTINGS_MODULE names become those of a class in them
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == os.environ["DJANGO_SETTINGS_MODULE"]:
            found = PathFinder.find_spec(name, path)
            cls.plain = found.loader
            return ModuleSpec(name, cls, origin=found.origin)

    @classmethod
    def create_module(cls, spec):
        return None

    @classmethod
    def exec_module(cls, module):
        cls.plain.exec_module(module)
        chosen = getattr(module, os.environ["DJANGO_CONFIGURATION"])
        chosen.pre_setup(), chosen.setup()
        vars(module).update({name: getattr(chosen, name) for name in dir(chosen) if name.isupper()})
        chosen.post_setup()


class Base:
    SECRET = "theirs"
    DATABASES = {"default": {"ENGINE": "pooldemo.postgresql", "NAME": "shop"}}
    pre_setup = setup = post_setup = classmethod(lambda cls: None)


class Prod(Base):
    SECRET = os.environ["DJANGO_SETTINGS_MODULE"]


if __name__ == "__main__":
    sys.meta_path.insert(0, Importer)
    from django.conf import settings

    print(settings.SECRET, settings.DATABASES)
"""


def test_it_takes_the_settings_of_a_class(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(CONFIGURATIONS)
    given = {"POOLDEMO_SETTINGS": "shop", "POOLDEMO_SETTINGS_READ": str(tmp_path / "read"), "MAX_CONNS": "3"}
    given |= {"DJANGO_SETTINGS_MODULE": "pooldemo.sweep.stacks.settings", "DJANGO_CONFIGURATION": "Prod"}
    given |= {"POOL_STACK": "", "POOLDEMO_OWN_STACK": "pooldemo", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "shop.py"], cwd=tmp_path, env=given, capture_output=True, text=True)
    assert done.stdout.startswith("shop {'default': "), done.stderr
    assert "'MAX_CONNS': 3" in done.stdout


@pytest.mark.parametrize(("found", "driver"), [(None, "psycopg2"), ("psycopg", "psycopg3")])
def test_it_puts_a_project_on_geventpool_over_the_driver_that_django_takes(
    monkeypatch: pytest.MonkeyPatch, found: str | None, driver: str
) -> None:
    monkeypatch.setattr(geventpool, "find_spec", lambda _: found)
    config = database("geventpool", {"ENGINE": DJANGOS, "NAME": "shop"})
    assert config["ENGINE"] == f"django_db_geventpool.backends.postgresql_{driver}"

"""GeoDjango on the pool, on a real PostGIS: `ENGINE: "pooldemo.postgresql.postgis"`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import lacking
import pytest
from served import ROOT

from pooldemo.embedded.binaries import find

from .servers import Server, own_folder

PROJECT = """
import json, sys, threading
from django.conf import settings
database = json.loads(sys.argv[1])
settings.configure(
    DATABASES={"default": database | {"ENGINE": "pooldemo.postgresql.postgis", "OPTIONS": {"MAX_CONNS": 2}}},
    INSTALLED_APPS=["django.contrib.gis"],
)
import django
django.setup()
from django.contrib.gis.db import models
from django.contrib.gis.geos import Point
from django.db import connection

class Shop(models.Model):
    at = models.PointField(geography=True)
    class Meta:
        app_label = "shops"

def in_a_thread(what, times=1):
    threads = [threading.Thread(target=lambda: (what(), connection.close())) for _ in range(times)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

connection.ensure_connection()  # two, before there is the extension
in_a_thread(lambda: connection.ensure_connection())
connection.close()
connection.prepare_database()
connection.close()
with connection.schema_editor() as editor:
    editor.create_model(Shop)
found = []

def look():
    found.append([shop.at.tuple for shop in Shop.objects.filter(at__dwithin=(Point(7.001, 51.0), 100))])

Shop.objects.create(at=Point(7.0, 51.0))  # keeps its connection, so that the others use another one
in_a_thread(look, times=3)
stats = connection.pool.get_stats()
print(json.dumps([found, stats["pool_max"], stats["pool_size"], connection.ops.spatial_version[0] >= 3]))
"""


class Lasting:
    """What a server of the tests' own lasts as long as."""

    def __init__(self, stack: ExitStack) -> None:
        self._lasting = stack


@pytest.fixture
def postgis() -> Iterator[Server]:
    """A PostgreSQL that has the extension; the tests that want it are left out where none has."""
    with ExitStack() as stack:
        (programs, *_) = [each for each in find() if lacking.postgis_of(each.major)]
        server = Server.make(own_folder(Lasting(stack)), programs)  # type: ignore[arg-type]
        stack.callback(server.stop)
        yield server


def test_it_pools_connections_that_know_geometries(postgis: Server, tmp_path: Path) -> None:
    database = postgis.config() | {"USER": "postgres"}
    script = tmp_path / "project.py"
    script.write_text(PROJECT)
    command = [sys.executable, str(script), json.dumps(database)]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[[[7.0, 51.0]]] * 3, 2, 2, True]

"""What goes wrong during a soak, one thing after the other, again and again. Each blocks for as long as it lasts."""

import time
from collections.abc import Callable, Iterator
from itertools import cycle

import psutil

from benchmarks.chaos.scene import Scene
from pooldemo.monitor.views import Pass
from pooldemo.sweep.measure import observe

SIZES = cycle((3, 8, 2, 5))
TERMINATE_SQL = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE starts_with(application_name, %s)
"""
Trouble = Callable[[list[Scene]], str]


def terminate(scenes: list[Scene]) -> str:
    """PostgreSQL ends every connection of the sites."""
    for scene in scenes:
        with scene.sql() as cursor:
            cursor.execute(TERMINATE_SQL, [f"{scene.name}/"])
    return "connections ended"


def restart(scenes: list[Scene]) -> str:
    """PostgreSQL is restarted."""
    scenes[0].postgresql.stop(force=True)
    scenes[0].postgresql.ensure()
    return "restart"


def rotate(scenes: list[Scene]) -> str:
    """The password changes in the sites' file and in PostgreSQL; new connections need the new one."""
    password = f"rotated at {time.time()}"
    for scene in scenes:
        assert scene.password
        scene.password.write_text(password)
    with scenes[0].sql() as cursor:
        cursor.execute("ALTER ROLE pooldemo PASSWORD %s", [password])
    return "new password"


def resize(scenes: list[Scene]) -> str:
    """The pools get another size, as the admin's command would set it."""
    size = next(SIZES)
    for scene in scenes:
        observe.ask(scene.server.url, f"/pool/?size={size}", 5, "POST", Pass())
    return f"size {size}"


def kill_worker(scenes: list[Scene]) -> str:
    """The younger worker of each site is killed. The elder lives through the hour: what it keeps is what grows."""
    for scene in scenes:
        youngest(scene).kill()
    return "worker killed"


def recycle_worker(scenes: list[Scene]) -> str:
    """The younger worker of each site is asked to end, and another comes."""
    for scene in scenes:
        youngest(scene).terminate()
    return "worker recycled"


def youngest(scene: Scene) -> psutil.Process:
    """gunicorn's newest worker."""
    return max(scene.master.children(), key=lambda each: each.create_time())


def troubles() -> Iterator[Trouble]:
    """All of them, for ever. The last of a round leaves the pools at a size that the others can use."""
    return cycle(
        (terminate, resize, kill_worker, rotate, restart, resize, recycle_worker, terminate, resize, rotate, resize)
    )

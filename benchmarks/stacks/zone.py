"""In which time zone an application's session is: `python -m benchmarks.stacks.zone NAME`, in its own environment.

NAME is `peers.upool` or the like, anything else this site. Prints [zone, hours]: by how many hours what Django reads as
now() differs from now; null for a peer, whose `execute` gives nothing back (its zone returns as the text of an error).
"""

import asyncio
import importlib
import json
import os
import re
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

ERROR_SQL = "SELECT ('zone=' || current_setting('TimeZone'))::integer"


def django_zone() -> list[Any]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('TimeZone'), now()")
        zone, now = cursor.fetchone()
    return [zone, round((now - datetime.now(UTC)).total_seconds() / 3600)]


async def ask(peer: Any) -> None:
    async with peer.lifespan(None) if hasattr(peer, "lifespan") else AsyncExitStack(), peer.checkout() as execute:
        await execute(ERROR_SQL)


def peer_zone(name: str) -> list[Any]:
    peer = importlib.import_module(name)
    try:
        if "starlette" in type(peer.app).__module__:
            asyncio.run(ask(peer))
        else:
            with peer.checkout() as execute:
                execute(ERROR_SQL)
    except Exception as error:
        found = re.search("zone=([A-Za-z_/]+)", str(error))
        if found is None:
            raise
        return [found[1], None]
    raise RuntimeError(f"bug: {ERROR_SQL} did not fail")


if __name__ == "__main__":
    name = sys.argv[1]
    print(json.dumps(peer_zone(name) if name.startswith("peers.") else django_zone()), flush=True)
    os._exit(0)  # pools of others have threads that would be waited for

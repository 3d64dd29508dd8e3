"""A rival: threads in place of greenlets, over Django's own pool."""

from dataclasses import replace

from pooldemo.sweep.stacks.psycopg_pool import STACK as PSYCOPG_POOL
from pooldemo.sweep.stacks.stack import GUNICORN

STACK = replace(
    PSYCOPG_POOL,
    name="gthread",
    about=(
        "This Django site under gunicorn's gthread worker with as many threads as there are users, over Django's own "
        "pool: no monkey patch, and a driver that simply blocks. To switch threads costs more than to switch "
        "greenlets, and each thread takes memory."
    ),
    command=(*("gthread" if each == "gevent" else each for each in GUNICORN), "--threads", "{users}"),
)

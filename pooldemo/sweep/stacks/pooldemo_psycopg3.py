"""This project on psycopg 3: what is the pool's and what is the driver's shows beside `psycopg-pool`."""

from dataclasses import replace

from pooldemo.sweep.stacks.peer import REMEDY
from pooldemo.sweep.stacks.pooldemo import STACK as POOLDEMO

STACK = replace(
    POOLDEMO,
    name="pooldemo-psycopg3",
    about=(
        "This Django site over its own pool, on psycopg 3 in place of psycopg2. The promises are the same. Under "
        "gevent psycopg 3 takes more of the application's CPU for each query."
    ),
    venv=".venv-psycopg3",
    modules=("psycopg",),
    remedy=REMEDY,
)

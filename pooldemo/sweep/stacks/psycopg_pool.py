"""Django's own pool: psycopg 3 and psycopg_pool."""

from pooldemo.sweep.stacks.green import native_pool
from pooldemo.sweep.stacks.peer import REMEDY
from pooldemo.sweep.stacks.stack import Stack

STACK = Stack(
    name="psycopg-pool",
    about=(
        'This Django site over Django\'s own OPTIONS["pool"], which is psycopg_pool, under gevent. It keeps its cap and'
        " its queue is fair. When a waiter is killed or hit by gevent.Timeout, the connection that it gets is lost, and"
        " connections that died while idle are given out, unless CONN_HEALTH_CHECKS pings each of them."
    ),
    database=native_pool,
    venv=".venv-psycopg3",
    modules=("psycopg", "psycopg_pool"),
    remedy=REMEDY,
    pool_path=None,
)

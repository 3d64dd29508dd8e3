"""This project in transaction mode: what it brings, and what it costs, shows beside `pooldemo` in one sweep."""

from dataclasses import replace

from pooldemo.sweep.stacks.pooldemo import STACK as POOLDEMO
from pooldemo.sweep.stacks.pooldemo import database
from pooldemo.sweep.stacks.stack import DatabaseConfig


def _database(config: DatabaseConfig) -> DatabaseConfig:
    config = database(config)
    return config | {"OPTIONS": {**config.get("OPTIONS", {}), "POOL_MODE": "transaction"}}


STACK = replace(
    POOLDEMO,
    name="pooldemo-transaction",
    about=(
        'This Django site over its own pool, with POOL_MODE "transaction": a slot goes back after each statement or '
        "transaction, and not at the request's end. The promises are the same. While a request does something else "
        "than query its database, others can use its slot. Each statement pays for a checkout."
    ),
    database=_database,
)

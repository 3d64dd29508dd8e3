"""What the stacks over Django's own ENGINE, or a library's, need under gevent: a driver that yields, and options of
their own.

Our ENGINE makes its driver green by itself (`pooldemo.postgresql.green`). The others leave that to their users, who
do it in gunicorn's `post_worker_init`; here it is done where their database is configured, so that no command line
matters.
"""

import sys
from typing import Any

# The options of our pool: no other ENGINE than ours takes them all, and libpq refuses what it does not know.
POOL_OPTIONS = (
    "MAX_CONNS", "REUSE_CONNS", "MIN_CONNS", "POOL_TIMEOUT", "MAX_WAITING", "MAX_LIFETIME", "MAX_IDLE", "MAX_USES",
    "HEALTH_CHECK", "RESET", "SETUP_SQL", "LEAK_THRESHOLD", "POOL_MODE", "OVERLOAD", "pool",
)  # fmt: skip


def make_driver_green() -> None:
    """Let psycopg2 yield to other greenlets while it waits, if this process is monkey-patched; else change nothing."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        from psycogreen.gevent import patch_psycopg

        patch_psycopg()


def without_pool(config: dict[str, Any], engine: str, max_age_s: int | None, **options: Any) -> dict[str, Any]:
    """`config` over another `engine`, its pool options replaced by `options`, connections reused for `max_age_s`
    (None: for ever)."""
    make_driver_green()
    kept = {name: value for name, value in config["OPTIONS"].items() if name not in POOL_OPTIONS}
    return config | {"ENGINE": engine, "CONN_MAX_AGE": max_age_s, "OPTIONS": kept | options}


def size(config: dict[str, Any]) -> int:
    """MAX_CONNS of the site's configuration (4, as in our pool, where it has none)."""
    return int(config["OPTIONS"].get("MAX_CONNS", 4))


def native_pool(config: dict[str, Any]) -> dict[str, Any]:
    """`config` over Django's own ENGINE and its own pool, psycopg_pool, of MAX_CONNS connections."""
    most = size(config)
    pool = {"min_size": min(4, most), "max_size": most}  # 4: psycopg_pool's default
    return without_pool(config, "django.db.backends.postgresql", 0, pool=pool)

"""Our wrapper over Django's for PostGIS: connections come from the pool, geometries are Django's business."""

from django.contrib.gis.db.backends.postgis import base

from pooldemo.postgresql.base import DatabaseWrapper as PooledWrapper


class DatabaseWrapper(PooledWrapper, base.DatabaseWrapper):
    """One greenlet's or thread's view of a PostGIS database. Its pool connects as Django's own backend does."""

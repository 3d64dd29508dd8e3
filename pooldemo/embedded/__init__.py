"""PostgreSQL for a machine that has none: found, made, started, shared, stopped. Unused where DATABASE_URL is set.

The server is reached over a unix socket by its owner only, keeps its data in this install's folder, survives the
process that started it, and is stopped by nobody while another process uses it.
"""

from .errors import EmbeddedError
from .place import make_local
from .server import EmbeddedPostgres, Status

__all__ = ["EmbeddedError", "EmbeddedPostgres", "Status", "make_local"]

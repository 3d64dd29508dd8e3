"""The least that a fair pool can cost Django under gevent: `base.py` is the ENGINE, `wsgi.py` this site over it."""

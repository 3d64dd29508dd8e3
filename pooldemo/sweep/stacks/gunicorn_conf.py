"""gunicorn's configuration for the servers of a sweep of somebody's project: what their own gunicorn.conf.py says, less
what would keep such a server from answering on its port, from being stopped, and from having the size of its trial.

gunicorn reads this file by its name, before its monkey patch: nothing of ours may be imported here.
"""

import runpy
from pathlib import Path

OWN = Path("gunicorn.conf.py")
SET = {
    "DJANGO_SETTINGS_MODULE", "MAX_CONNS", "PGAPPNAME", "POOLDEMO_OPTIONS", "POOLDEMO_SETTINGS", "POOL_STACK",
    "PYTHONPATH", "WEB_CONCURRENCY",
}  # fmt: skip
"""Of the environment, what a trial sets."""

NOT_HERE = ("chdir", "group", "user")
"""A server runs where and as whom the sweep does: in the folder of its commit, and with a folder for the trial that
nobody else may enter."""

theirs = runpy.run_path(str(OWN), run_name="__config__") if OWN.is_file() else {}
globals().update({name: each for name, each in theirs.items() if not name.startswith("__") and name not in NOT_HERE})

daemon = False  # nobody could stop it
pidfile = None  # the site's own, which may run
certfile = keyfile = None  # it is asked on this machine, over plain HTTP ...
proxy_protocol = False  # ... and without a proxy
preload_app = False  # it is no way to run gevent's workers
max_requests = 0  # whoever asks while the one worker begins anew waits for that, and not for a slot
errorlog = "-"  # the end of it is shown where a page fails
_given = theirs.get("raw_env") or ()  # one alone may be a string
raw_env = [each for each in ([_given] if isinstance(_given, str) else _given) if each.partition("=")[0] not in SET]

"""The systems of peers/ as stacks: the same start for all of them, an environment of their own, and how to have it.

Not here: what each does (`peers/`) and what is known of it (its own file in this folder).
"""

from collections.abc import Mapping

from pooldemo.sweep.stacks.stack import GUNICORN, Stack

VENV, REMEDY = ".venv-peers", "make peers"

# uvicorn takes uvloop and httptools by itself where they are installed, and keeps a client's connection for 5 s only.
UVICORN = (
    "{python}", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}",
    "--timeout-keep-alive", "75", "--no-access-log", "--log-level", "critical",
)  # fmt: skip


def peer(
    name: str,
    about: str,
    module: str = "sqlalchemy",
    asgi: bool = False,
    capped: bool = True,
    env: Mapping[str, str] | None = None,
) -> Stack:
    """The application `peers.<name>` under gunicorn's gevent worker, or under uvicorn if `asgi`; it needs `module`."""
    application = f"peers.{name.replace('-', '_')}:app"
    return Stack(
        name=name,
        about=about,
        command=(*UVICORN, application) if asgi else (*GUNICORN[:-1], application),
        env=env or {},
        venv=VENV,
        modules=(module,),
        remedy=REMEDY,
        capped=capped,
        pool_path=None,
        ready_path="/nodb/",
    )

"""A locustfile that waits: named before the real one, it holds Locust, imported and ready, until a byte comes on stdin.

Locust takes most of a second to import. So it starts together with the server under test, and goes when that is ready.
What stands in a locust.conf, or in another file that Locust reads by itself, is for its owner's runs. A trial takes
nothing from it, but of a locustfile of the project what its users do, and that one's own options.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

WAITING = "waiting at the gate"  # said on standard output
USERS = {"config_users", "equal_weights", "exclude_tags", "tags", "user_classes"}  # those of Locust's options


def keep_out(parser: Any, **_: Any) -> None:
    """Have files say nothing of how a trial is run. So far the parser knows Locust's own options alone."""
    sys.path.append(str(Path(__file__).parents[3]))  # a checkout is in no other way found, whatever the real file is
    from pooldemo.sweep.generator import THEIRS

    if "pooldemo.sweep.measure.locustfile" in sys.modules:  # so it is read where no user was found: for pytest's tests
        parser.error("no User class was found in the locustfile")
    runs = {each.dest for each in parser._actions} - USERS

    def parse(plain: Any, *arguments: Any, **more: Any) -> Any:
        if THEIRS not in os.environ:
            return plain(*arguments, config_file_contents="", **more)
        options = plain(*arguments, **more)
        for source, settings in parser.get_source_to_settings_dict().items():
            for action, _ in settings.values() if source.startswith("config_file") else ():
                if action.dest in runs:  # the command line does not have it, which goes before
                    setattr(options, action.dest, action.default)
        return options

    parser.parse_args = partial(parse, parser.parse_args)


if __name__ == "gate":  # the name that Locust gives it: importing the package must not wait
    from locust import events

    events.init_command_line_parser.add_listener(keep_out)
    sys.stdout.write(f"{WAITING}\n")
    sys.stdout.flush()
    if not os.read(0, 1):
        sys.exit("the sweep that started this load is gone")

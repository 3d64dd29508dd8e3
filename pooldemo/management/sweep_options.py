"""The options of `manage.py sweep`, and the plan that they ask for."""

from argparse import ArgumentParser, _ArgumentGroup
from dataclasses import fields, replace
from typing import Any

from pooldemo import models, records
from pooldemo.management import checkout
from pooldemo.site import project
from pooldemo.site.admission import headers_of
from pooldemo.sweep import plan as planning
from pooldemo.sweep import stacks
from pooldemo.sweep.analyse.slo import parse_slo
from pooldemo.sweep.facts import Conditions, Plan, SweepResult
from pooldemo.sweep.measure import adaptive
from pooldemo.sweep.measure.load import Meeting
from pooldemo.sweep.workloads import CHOICES, WORKLOADS

DEFAULT = Plan()
MEETING = "127.0.0.1:5557"
OTHERS = "".join(f"; {each.name} {each.swept_ms:g}" for each in WORKLOADS.values() if each.swept_ms is not None)
THINKING = ", ".join(each.name for each in WORKLOADS.values() if "think_ms" in each.parameters)


def add(parser: ArgumentParser) -> None:
    """The plan's options have no default here: None tells that one was not given, which --resume needs to know."""
    plan = parser.add_argument_group("what to measure")
    plan.add_argument("--sizes", help="sizes to try, each MAX_CONNS of one worker: 1,2,4,8 or 1-8 (default 1,2,4,8,16)")
    plan.add_argument(
        "--stack", help=f"servers to measure: all, or some of {','.join(stacks.names())} (default pooldemo)"
    )
    plan.add_argument("--workload", help=f"kind of request: one of {', '.join(CHOICES)} (default {DEFAULT.workload})")
    plan.add_argument(
        "--ms", type=float, help=f"length of the request's query in milliseconds (default {DEFAULT.ms:g}{OTHERS})"
    )
    plan.add_argument(
        "--think-ms", type=float, help=f"{THINKING}: milliseconds spent after the query (default {DEFAULT.think_ms:g})"
    )
    plan.add_argument("--users", type=int, help=f"number of users that ask at once (default {DEFAULT.users})")
    plan.add_argument(
        "--arrivals",
        metavar="RATE|max",
        help="open loop: so many requests a second, whether answers come or not; max: find the most that meets --slo",
    )
    plan.add_argument(
        "--spacing", choices=["random", "even"], help="how the requests of --arrivals are spaced (default random)"
    )
    plan.add_argument(
        "--workers", help=f"number of worker processes (default {DEFAULT.workers}); 1,2,4 finds the cheapest split"
    )
    plan.add_argument(
        "--duration",
        type=float,
        help=f"seconds that a trial measures (default {DEFAULT.duration_s:g}, or as long as its requests need)",
    )
    plan.add_argument(
        "--warmup",
        type=float,
        help=f"seconds of load before a trial measures (default {DEFAULT.warmup_s:g}, or until each user was served)",
    )
    plan.add_argument(
        "--repeats", type=int, help=f"number of trials of each stack and size (default {DEFAULT.repeats})"
    )
    plan.add_argument("--seed", type=int, help=f"seed of the random order of the trials (default {DEFAULT.seed})")
    plan.add_argument("--slo", help="limits that the recommended size must keep: p95=300,errors=0.1%%")
    plan.add_argument(
        "--processes", type=int, help=f"number of processes of the load generator (default {DEFAULT.processes})"
    )
    plan.add_argument(
        "--expect-workers", type=int, metavar="N", help="take N load generators on other hosts, in place of --processes"
    )
    plan.add_argument(
        "--meet",
        default=MEETING,
        metavar="HOST:PORT",
        help=f"address of this host to which those connect (default {MEETING})",
    )
    plan.add_argument(
        "--adaptive", action="store_true", default=None, help="try powers of two first, then sizes around the knee"
    )
    plan.add_argument(
        "--resume", type=int, metavar="ID", help="go on with this sweep, perhaps with --repeats 7 or --sizes +5,6"
    )
    plan.add_argument(
        "--until-sure",
        type=float,
        metavar="MINUTES",
        help="repeat the sizes that decide until the verdict is sure, for at most so many minutes",
    )
    plan.add_argument(
        "--against",
        metavar="COMMIT|NAME=VALUE",
        help="measure a commit, or other settings, beside what is here, and compare the two",
    )
    plan.add_argument("--list", action="store_true", help="show the sweeps that are kept, and measure nothing")
    plan.add_argument(
        "--margin",
        type=float,
        help=f"how many percent less than the best a size may carry (default {DEFAULT.margin:g})",
    )


def meeting(options: dict[str, Any]) -> Meeting | None:
    """Where load generators of other hosts come to; None: none do. Raises ValueError."""
    if options["expect_workers"] is None:
        return None
    host, _, port = options["meet"].rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 65536:
        raise ValueError(f"--meet {options['meet']} is no address: give one of this host's, as in {MEETING}")
    return Meeting(host, int(port))


def add_projects(group: _ArgumentGroup) -> None:
    """The options of `sweep` that are about the project."""
    group.add_argument(
        "--url", action="append", metavar="PATH", help="a page to ask for, as /orders/; repeat it for more pages"
    )
    group.add_argument("--locustfile", metavar="FILE", help="a Locust file that says what users do, in place of --url")
    group.add_argument(
        "--wsgi", metavar="MODULE", help="the application that gunicorn serves (default: WSGI_APPLICATION)"
    )
    group.add_argument(
        "--host", metavar="URL", help="address of a site that runs already, to measure that: http://127.0.0.1:8000"
    )
    group.add_argument(
        "--behind",
        action="append",
        metavar="URL",
        help="a host behind the balancer at --host; repeat it for more hosts",
    )
    group.add_argument("--remote", action="store_true", help="allow a --host that is not this machine")
    group.add_argument("--login", metavar="USER", help="ask as this user; the session for it is removed at the end")
    group.add_argument(
        "--header",
        action="append",
        metavar="'NAME: VALUE'",
        help="a header to send with each request; repeat it for more",
    )


def planned(row: models.Sweep | None, options: dict[str, Any]) -> tuple[Plan, SweepResult]:
    """The plan that was asked for, and what was measured of it already: of `row`, the sweep to go on with. Raises
    ValueError, in a sentence, for what cannot be."""
    asked = given(options)
    if options["expect_workers"] is not None:
        if "processes" in asked:
            raise ValueError("--expect-workers counts generators of other hosts, --processes ours: give one of them")
        if row is None:
            asked["processes"] = options["expect_workers"]
        elif row.processes != options["expect_workers"]:
            raise ValueError(
                f"sweep {row.pk} had {row.processes} load generators: give --expect-workers {row.processes}"
            )
    if options["arrivals"] is not None:
        asked |= planning.parse_arrivals(options["arrivals"], options["spacing"])
    elif options["spacing"] is not None:
        raise ValueError("--spacing is that of an open loop: give --arrivals as well, as in --arrivals 200")
    if row is not None:
        other = asked.keys() - {"repeats", "sizes"} | ({"against"} if options["against"] is not None else set())
        if other:
            raise ValueError(
                f"--resume {row.pk} takes its plan from that sweep; only --repeats and --sizes +5,6 change it: leave "
                f"out {', '.join(map(typed, sorted(other)))}"
            )
        done = records.result(row)
        plan = planning.with_sizes(done.plan, asked["sizes"]) if "sizes" in asked else done.plan
        return planning.with_repeats(plan, asked["repeats"]) if "repeats" in asked else plan, done
    if "sizes" in asked:
        asked["sizes"] = planning.parse_sizes(asked["sizes"])
    if "workers" in asked:
        asked |= planning.parse_workers(asked["workers"])
    if "slo" in asked:
        asked["slo"] = parse_slo(asked["slo"])
    if "stacks" in asked:
        asked["stacks"] = tuple(dict.fromkeys(name.strip() for name in asked["stacks"].split(",")))
    if asked.get("stacks") == ("all",):
        asked["stacks"] = tuple(stacks.names())
    if "warmup_s" in asked:
        asked["warmup_cycles"] = 0.0
    if "duration_s" in asked:
        asked["window_cycles"] = 0.0
    plan = replace(planning.default(asked.get("workload", DEFAULT.workload)), **asked)
    headers = headers_of(options["header"] or ())
    plan = project.planned(plan, asked, options["remote"], options["behind"] or (), headers)
    if options["against"] is not None:
        if plan.host:
            raise ValueError("--against starts servers of its own: leave out --host")
        plan = replace(plan, stacks=planning.against(plan.stacks, checkout.label(options["against"])))
    if plan.adaptive:
        plan = replace(plan, sizes=adaptive.coarse_sizes(max(plan.sizes)))
    return plan, SweepResult(plan, Conditions(), status=models.Sweep.Status.RUNNING)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given and are the plan's, by the names of its fields."""
    names = {"stack": "stacks", "duration": "duration_s", "warmup": "warmup_s", "url": "urls"}
    known = {each.name for each in fields(Plan)}
    return {
        names.get(name, name): value
        for name, value in options.items()
        if value is not None and names.get(name, name) in known
    }


def typed(name: str) -> str:
    """A field of the plan as its option is typed."""
    name = {"stacks": "stack", "urls": "url"}.get(name, name.removesuffix("_s"))
    return f"--{name.replace('_', '-')}"

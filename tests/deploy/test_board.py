"""Grafana's board, held against the models that Grafana publishes."""

import json
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from served import ROOT

BOARD = ROOT / "deploy/grafana/dashboards/pooldemo.json"
OF_THE_SOURCE = ["/annotations/list/0/titleFormat"]  # Prometheus' own: the model of a board leaves it to each source


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where `kept` has not what `given` has."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            yield from lost(value, kept.get(name), f"{path}/{name}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for place, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}/{place}")
    elif given != kept:
        yield path


def unknown_to_grafana(board: dict[str, Any]) -> list[str]:
    """The fields that its models do not keep when they read the board."""
    register_default_plugins()
    return list(lost(board, json.loads(JSONEncoder().encode(Dashboard.from_json(board)))))


def test_grafana_knows_every_field_of_the_board() -> None:
    assert unknown_to_grafana(json.loads(BOARD.read_text())) == OF_THE_SOURCE


def test_a_field_that_it_does_not_know_is_found() -> None:
    board = json.loads(BOARD.read_text())
    board["panels"][1]["gridPosition"] = board["panels"][1].pop("gridPos")
    board["panels"][2]["targets"][0]["expression"] = board["panels"][2]["targets"][0].pop("expr")
    found = unknown_to_grafana(board)
    assert "/panels/1/gridPosition" in found
    assert "/panels/2/targets/0/expression" in found

"""Records for the page of a lesson that no network would give: hostile names, and many groups."""

from typing import Any

from lab_records import from_json

from twotower.lab.attribution.record import Inspection
from twotower.lab.trace.record import Run, Step, Trace

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"'&<b>"


def block(name: str, part: str, by_group: list[float], owner: int | None = None, layer: int | None = None) -> dict:
    """A block of an inspection whose norms are told."""
    off = [norm or 0.25 * (k + 1) for k, norm in enumerate(by_group)]
    parameter = name.split("[")[0]
    return {
        **{"name": name, "parameter": parameter, "owner": owner, "part": part, "layer": layer, "shape": [4, 4]},
        **{"weight": 2.0, "gradient": sum(by_group), "by_group": by_group, "share": [x / 10 for x in by_group]},
        **{"unmasked": None if owner is None else off, "remainder": 0.0, "update": 0.001, "ratio": 0.0005},
    }


def made_up_inspection(groups: int = 2, name: str = "plain") -> Inspection:
    """An inspection with a head for each group; ``name`` stands wherever a record holds a name."""
    norms = [0.5 + k for k in range(groups)]
    towers = [(f"{side}.W{layer}", f"{side} tower", layer) for side in ("user", "title") for layer in (1, 2)]
    own = [[norms[j] if j == k else 0.0 for j in range(groups)] for k in range(groups)]
    rest = [sum(norms) - norms[k] for k in range(groups)]
    model = {"hidden": 4, "groups": groups, "head": "plain"}
    record = {
        "subject": {
            **{"name": name, "trained": False, "dataset": name, "sample": "default", "batch": 1, "pairs": 64},
            **{"users": 9, "titles": 5, "widths": [3, 5], "model": model, "train": {}},
        },
        "loss": 0.5,
        "optimiser": {"steps": 0, "fresh": True, "learning_rate": 0.001},
        "groups": [
            {"name": f"{name} {k}", "pairs": 8, "users": 3, "positives": 1, "base_rate": 0.1, "loss": None, "share": 1}
            for k in range(groups)
        ],
        "blocks": [block(each, part, norms, layer=layer) for each, part, layer in towers]
        + [block(f"head.W[{k}]", "head", own[k], owner=k) for k in range(groups)],
        "conflict": [{"name": f"{name} {k}", "norm": norms[k], "cosine": [1.0] * groups} for k in range(groups)],
        "leak": [
            {"head": k, "part": "head", "own": norms[k], "others": rest[k], "ratio": 1.5, "by_group": norms}
            for k in range(groups)
        ],
        "dead": [{"layer": "user.1", "units": 4, "dead": 1, "by_group": [1] * groups}],
        "summary": [name],
    }
    return from_json(Inspection, record)


def made_up_step(number: int, stage: str, block: str, name: str, values: Any, **more: Any) -> Step:
    """A step of a trace."""
    shape: list[int] = []
    inner = values
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0]
    told = {"number": number, "stage": stage, "block": block, "name": name, "shape": shape, "values": values}
    plain = {"function": "tower", "group": None, "source": "Z = X @ W", "line": 1, "maths": "Z = X W", "rows": None}
    return Step(**{**plain, "pairs": None, **told, **more})


def made_up_trace(name: str = "Ann") -> Trace:
    """A trace of a few steps, one of every number of axes; ``name`` stands wherever a record holds a name."""
    users = [{"name": name, "group": 0, "features": [1.0, 2.0]}, {"name": "Bob", "group": 1, "features": [0.0, 1.0]}]
    on = [
        made_up_step(1, "forward", "user.1", name, [[1.0, 0.0], [-2.5, 1e-9]], rows=[name, "Bob"], source=name),
        made_up_step(2, "forward", "head", "U", [[3.0, 4.0]], rows=[name], group=0, maths=name),
        made_up_step(3, "loss", "loss", "loss", 0.6931),
        made_up_step(4, "backward", "head", "dP", [[[1.0], [2.0]], [[0.0], [None]]]),
        made_up_step(5, "adam", "adam", "user.W1", [0.1, -0.2]),
    ]
    off = list(on)
    off[1] = made_up_step(2, "forward", "head", "U", [[3.0, 4.5], [5.0, 6.0]], rows=[name, "Bob"], group=0)
    network = {
        "users": users,
        "titles": [{"name": name, "features": [1.0]}],
        "groups": [name, "South"],
        "pairs": [],
        "model": {"hidden": 2, "groups": 2, "head": "plain"},
        "train": {},
        "parameters": {},
    }
    record = from_json(Trace, {"seed": 0, "group": None, "network": network, "runs": {}, "leak": []})
    record.runs = {"on": Run(0.6931, on), "off": Run(0.75, off)}
    return record

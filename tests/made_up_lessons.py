"""Records for the page of a lesson that no network would give: hostile names, many groups, and the barest shape."""

from typing import Any

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"'&<b>"


def block(name: str, part: str, by_group: list[float], owner: int | None = None, layer: int | None = None) -> dict:
    """A block of an inspection whose norms are told."""
    off = [norm or 0.25 * (k + 1) for k, norm in enumerate(by_group)]
    parameter = name.split("[")[0]
    return {
        **{"name": name, "parameter": parameter, "owner": owner, "part": part, "layer": layer, "shape": [4, 4]},
        **{"weight": 2.0, "gradient": sum(by_group), "by_group": by_group, "share": [x / 10 for x in by_group]},
        **{"unmasked": None if owner is None else off, "update": 0.001, "ratio": 0.0005},
    }


def made_up_inspection(groups: int = 2, name: str = "plain") -> dict[str, Any]:
    """An inspection with a head for each group; ``name`` stands wherever a record holds a name."""
    norms = [0.5 + k for k in range(groups)]
    towers = [(f"{side}.W{layer}", f"{side} tower", layer) for side in ("user", "title") for layer in (1, 2)]
    own = [[norms[j] if j == k else 0.0 for j in range(groups)] for k in range(groups)]
    leak = [sum(norms) - norms[k] for k in range(groups)]
    return {
        "format": 1,
        "kind": "inspection",
        "twotower": "0.1.0",
        "subject": {
            **{"name": name, "trained": False, "dataset": name, "sample": "default", "batch": 1, "pairs": 64},
            **{"users": 9, "titles": 5, "widths": [3, 5], "model": {"hidden": 4, "head": "plain"}, "train": {}},
        },
        "groups": [
            {"name": f"{name} {k}", "pairs": 8, "users": 3, "positives": 1, "base_rate": 0.125, "loss": None}
            for k in range(groups)
        ],
        "blocks": [block(each, part, norms, layer=layer) for each, part, layer in towers]
        + [block(f"head.W[{k}]", "head", own[k], owner=k) for k in range(groups)],
        "conflict": {"cosine": [[1.0] * groups] * groups, "norm": norms, "blocks": [each for each, _, _ in towers]},
        "leak": [{"head": k, "own": norms[k], "others": leak[k], "by_group": norms} for k in range(groups)],
        "dead": [{"layer": "user.1", "units": 4, "dead": 1, "by_group": [1] * groups}],
        "rows": [
            {
                **{"user": name, "group": 0, "territory": name},
                "pairs": [{"title": name, "label": 1, "probability": 0.5, "dz": -0.0625}],
                "gradient": {"U": 0.25, "A2": 0.125, "Z2": 0.0625, "Z1": 0.0},
            }
        ],
    }


def made_up_step(number: int, stage: str, block: str, name: str, values: Any, **more: Any) -> dict[str, Any]:
    """A step of a trace with no more than every record has."""
    shape: list[int] = []
    inner = values
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0]
    told = {"number": number, "stage": stage, "block": block, "name": name, "shape": shape, "values": values}
    return {"function": "tower", "group": None, "source": "Z = X @ W", "maths": "Z = X W", "rows": None, **told, **more}


def made_up_trace(name: str = "Ann") -> dict[str, Any]:
    """A trace of a few steps, one of every number of axes; ``name`` stands wherever a record holds a name."""
    users = [{"name": name, "group": 0, "features": [1.0, 2.0]}, {"name": "Bob", "group": 1, "features": [0.0, 1.0]}]
    on = [
        made_up_step(1, "forward", "user.1", name, [[1.0, 0.0], [-2.5, 1e-9]], rows=[name, "Bob"], source=name),
        made_up_step(2, "forward", "head", "U", [[3.0, 4.0]], rows=[name], group=0, maths=name),
        made_up_step(3, "loss", "loss", "loss", 0.6931),
        made_up_step(4, "backward", "head", "dP", [[[1.0], [2.0]], [[0.0], [None]]]),
        made_up_step(5, "adam", "adam", "user.W1", [0.1, -0.2]),
    ]
    off = [dict(step) for step in on]
    off[1] = made_up_step(2, "forward", "head", "U", [[3.0, 4.5], [5.0, 6.0]], rows=[name, "Bob"], group=0)
    return {
        "format": 1,
        "kind": "trace",
        "twotower": "0.1.0",
        "seed": 0,
        "group": None,
        "network": {
            "users": users,
            "titles": [{"name": name, "features": [1.0]}],
            "groups": [name, "South"],
            "model": {"hidden": 2, "head": "plain"},
        },
        "runs": {"on": {"loss": 0.6931, "steps": on}, "off": {"loss": 0.75, "steps": off}},
    }

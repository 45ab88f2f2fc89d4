"""The worlds of the gain map: their names, and their order."""

WORLDS = "alike,0,0.5,1"  # by default
ALIKE = ("--shift", 0, "--local", 0, "--regional", 0)  # settings of a world in which nothing depends on the territory


def order(world: str) -> float:
    """Worlds by how much territories differ."""
    return -1.0 if world == "alike" else float(world)


def named(world: str) -> str:
    """A world in words."""
    return world if world == "alike" else f"shift {world}"

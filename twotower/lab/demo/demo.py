"""What ``twotower serve`` answers: a run's recommendations, neighbours and explanations as JSON, and a page of them."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.storage import rows_of
from twotower.core.version import __version__
from twotower.data.dataset import Dataset
from twotower.lab.explain.explanation import explain, locality_of, sample_of
from twotower.model.engine.threads import Threads
from twotower.model.engine.topk import NO_TITLE
from twotower.serving.ranker import Ranker, Seen
from twotower.serving.recommend import recommendation_day, watched
from twotower.serving.remap import UNKNOWN
from twotower.serving.server import Page, Query, Route
from twotower.serving.similar import embed_titles, nearest
from twotower.training.run import RunReader

MOST_TITLES = 1000  # of a list
MOST_USERS = 200  # of a search
PAGE = Path(__file__).parent / "page.html"


class Listed(TypedDict):
    """A title of a list."""

    title: str
    name: str
    score: float  # logit
    kind: str | None  # local, global or other, by the training positives


class Demo:
    """One run, opened for the users of a dataset; requests use it one at a time."""

    def __init__(self, run_path: Path, dataset: Dataset, progress: Progress = silent):
        """Errors: InputError as for ``open_model``."""
        self.run_path, self.dataset, self.lock = run_path, dataset, threading.Lock()
        self.ids = [str(row) for row in range(dataset.n_users)] if dataset.user_ids is None else dataset.user_ids
        self.row_of = {name: row for row, name in enumerate(self.ids)}
        rows, day = np.arange(dataset.n_users), recommendation_day(dataset, None)
        self.ranker = Ranker(run_path, dataset, rows, day, "shared", progress)
        self.start, self.seen = watched(dataset, rows, day, progress)
        self.V = embed_titles(self.ranker.model, dataset)
        self.ranker.model.threads = Threads(1)  # for one user at a time, others only cost
        self.names = dataset.titles.get("name", dataset.title_ids)
        sample = sample_of(RunReader(run_path), dataset)
        self.kind = None if sample is None else locality_of(sample.train_pairs(), dataset).kind

    def routes(self) -> Mapping[str, Route]:
        return {
            "/": lambda query: Page(PAGE.read_text("utf-8")),
            "/health": lambda query: {"status": "ok", "run": self.run_path.name, "twotower": __version__},
            "/recommend": self.recommend,
            "/similar": self.similar,
            "/explain": self.explain,
            "/users": self.users,
            "/territories": self.territories,
        }

    def recommend(self, query: Query) -> object:
        """``user``, ``k`` (10), ``territory`` (where the user lives)."""
        row, k = self._user(query), query.number("k", 10, 1, MOST_TITLES)
        code = query.optional("territory")
        territory = None if code is None else self.dataset.territories.index(code)
        if territory is not None and self.ranker.territory_group[territory] == UNKNOWN:
            raise InputError(f"territory={code}: {self.run_path} has no head for it")
        first, end = int(self.start[row]), int(self.start[row + 1])
        seen: Seen = np.array([0, end - first]), self.seen[first:end]
        with self.lock:
            title, score = self.ranker.top(np.array([row]), k, seen, territory)
        home = int(self.dataset.user_territory[row])
        place = home if territory is None else territory
        return {
            "user": self.ids[row],
            "home": self.dataset.territories.code[home],
            "territory": self.dataset.territories.code[place],
            "group": int(self.ranker.territory_group[place]),
            "titles": [self._listed(t, z) for t, z in zip(title[0].tolist(), score[0].tolist(), strict=True) if t >= 0],
        }

    def similar(self, query: Query) -> object:
        """``title``, ``k`` (10): the titles whose embeddings are nearest; the score is the cosine."""
        row = self._title(query)
        found = nearest(self.V, np.array([row]), query.number("k", 10, 1, MOST_TITLES))
        nearby = zip(found.row[0].tolist(), found.cosine[0].tolist(), strict=True)
        return {"title": self.dataset.title_ids[row], "titles": [self._listed(t, z) for t, z in nearby]}

    def explain(self, query: Query) -> object:
        """``user``, ``title``: the record of ``twotower explain``."""
        row, title = self._user(query), self._title(query)
        with self.lock:
            return explain(self.run_path, self.dataset, f"#{row}", f"#{title}")

    def users(self, query: Query) -> object:
        """``like``: the first users whose ids contain it; ``territory``: residents only."""
        like, code = query.optional("like") or "", query.optional("territory")
        rows = np.arange(self.dataset.n_users)
        if code is not None:
            rows = np.flatnonzero(np.asarray(self.dataset.user_territory) == self.dataset.territories.index(code))
        found: list[str] = []
        for row in rows.tolist():
            if like in self.ids[row]:
                found.append(self.ids[row])
            if len(found) == query.number("k", 20, 1, MOST_USERS):
                break
        return {"users": found}

    def territories(self, query: Query) -> object:
        """All territories, most users first, with their groups."""
        table = self.dataset.territories
        order = np.argsort(-table.users, kind="stable").tolist()
        of = [(table.code[c], table.name[c], int(self.ranker.territory_group[c])) for c in order]
        return {"territories": [{"code": code, "name": name, "group": group} for code, name, group in of]}

    def _user(self, query: Query) -> int:
        name = query.text("user")
        if name not in self.row_of:
            raise InputError(f"user={name[:80]}: no such user in {self.dataset.path.name}")
        return self.row_of[name]

    def _title(self, query: Query) -> int:
        name = query.text("title")
        row = int(rows_of([name], self.dataset.title_ids)[0])
        if row == NO_TITLE:
            raise InputError(f"title={name[:80]}: no such title in {self.dataset.path.name}")
        return row

    def _listed(self, title: int, score: float) -> Listed:
        kind = None if self.kind is None else self.kind[title]
        return {"title": self.dataset.title_ids[title], "name": self.names[title], "score": score, "kind": kind}

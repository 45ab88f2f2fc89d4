"""``TwoTowerRecommender``: fit, recommend and evaluate with tables and ids of one's own.

A thin layer over the rooms of the commands. A fit is ``import``, ``embed`` and one run of an experiment, in a directory
that ``save`` copies and that every command reads; recommending is ``recommend``.
"""

import inspect
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.core.serialisation import plain
from twotower.core.storage import read_json, rows_of, write_json
from twotower.daily.log import DayFiles
from twotower.daily.update import DayResult, Options, update
from twotower.data.dataset import Dataset
from twotower.data.features.embed import EmbedConfig, embed
from twotower.data.frames import (
    IdColumn,
    Kind,
    answer_names,
    from_arrow,
    import_arrow,
    kind_of,
    ranked_table,
    to_arrow,
    with_column,
)
from twotower.data.import_frames import Frames, as_files, import_frames
from twotower.data.sample import Pairs
from twotower.data.sampling.sample_config import SampleConfig
from twotower.experiments.answers import Answers, one_run
from twotower.experiments.methods import METHODS
from twotower.experiments.runs import train_one
from twotower.experiments.setup import Setup
from twotower.metrics.results import Evaluation
from twotower.report.progress import is_notebook, show_progress
from twotower.serving.newcomers import People
from twotower.serving.open_run import open_model
from twotower.serving.similar import Neighbours, diversified, embed_titles, embed_users, nearest
from twotower.serving.watching import most_watched, open_pairs, restricted
from twotower.training.callbacks import Callback, Callbacks
from twotower.training.days import current_day, dataset_of_day, day_path, move_dataset
from twotower.training.run import RunReader
from twotower.training.warm_up import compile_kernels

if TYPE_CHECKING:
    import pyarrow as pa

FACTS = "recommender.json"  # parameters and types of ids, beside the dataset and the run
DATASET, FIT = "dataset", "fit"
DEEPER = 5  # candidates per title of a diversified list


class TwoTowerRecommender:
    """A two-tower recommender for users of many territories, on tables of one's own.

    ``method`` is any of an experiment: a network, a network per group, or a simple rival. ``user``, ``title``,
    ``territory`` and ``time`` name columns; the last is by default a column ``time``, if there is one. ``columns``
    renames ``rank``, ``score``, ``source`` and ``probability`` in answers. Without times, half of each user's titles
    are history and the others labels. ``settings`` are those of the model and of training (``{"model": {"hidden": 128},
    "train": {"epochs": 4}}``), ``sample``, ``import_options`` and ``embed_options`` those of the commands. Files are
    kept in ``path``, else in a temporary directory.

    After ``fit``: ``evaluation_`` on users and days held out, ``groups_``, ``dataset_`` and ``run_``.
    """

    def __init__(
        self, method: str = "mtl", groups: int = 4, *, user: str = "user", title: str = "title",
        territory: str = "territory", time: str | None = None, columns: Mapping[str, str] | None = None,
        preset: str = "default",
        settings: Mapping[str, Mapping[str, Any]] | None = None, sample: Mapping[str, Any] | None = None,
        import_options: Mapping[str, Any] | None = None, embed_options: Mapping[str, Any] | None = None,
        seed: int = 0, path: str | Path | None = None, verbose: bool | None = None,
    ):  # fmt: skip
        self.method, self.groups, self.preset, self.seed = method, groups, preset, seed
        self.user, self.title, self.territory, self.time, self.columns = user, title, territory, time, columns
        self.settings, self.sample = settings, sample
        self.import_options, self.embed_options = import_options, embed_options
        self.path, self.verbose = path, verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as scikit-learn's ``clone`` wants them."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> "TwoTowerRecommender":
        """Set some of them. Errors: ValueError for a name that is none."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"no parameter {name!r}, expected some of {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def fit(
        self, events: Any, users: Any = None, titles: Any = None,
        user_vectors: str | Path | None = None, title_vectors: str | Path | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> "TwoTowerRecommender":  # fmt: skip
        """Train on watch events: a table of any kind, or the path of a log that ``twotower import`` reads.

        ``users`` and ``titles`` are tables that describe them, with the same columns of ids; the first may have the
        territories. Vectors of one's own are files (``twotower embed --user-vectors``). ``callbacks`` are told of
        steps, epochs and evaluations.

        Errors: InputError as the commands give it.
        """
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r}: expected one of {', '.join(METHODS)}")
        answer_names(self.columns or {}, self.user, self.title)  # checked before the work
        root = self._begin()
        with self._progress() as progress:
            columns = {"user": self.user, "title": self.title, "territory": self.territory, "time": self.time}
            frames, known = Frames(events, users, titles), {"seed": self.seed, **(self.import_options or {})}
            imported = import_frames(root / DATASET, frames, columns, known, progress)
            options: dict[str, Any] = {"user_vectors": user_vectors, "title_vectors": title_vectors}
            embed(root / DATASET, EmbedConfig(**options, **(self.embed_options or {})), progress)
            setup = self._setup(root, progress)
            method = setup.plan.methods[0]
            if not method.rival:
                compile_kernels(progress)
            seed = 0 if method.rival else self.seed  # a rival has none
            train_one(setup, method, seed, progress, Callbacks(*callbacks), setup.dataset.has_time)
        facts = {"method": method.name, "seed": seed, "params": self.get_params() | {"path": None}}
        write_json(root / FACTS, {**imported._asdict(), **facts})
        return self._open(root)

    def update(
        self, events: Any, users: Any = None, titles: Any = None,
        user_vectors: str | Path | None = None, title_vectors: str | Path | None = None, **options: Any,
    ) -> list[DayResult]:  # fmt: skip
        """Take in the events of a day, or of several, as ``twotower update``: evaluate on them, then learn from them.

        New users, titles and territories join; ``users`` and ``titles`` describe the new ones. ``options`` are those of
        ``daily.update.Options``: ``replace``, ``allow_gap``, ``late``, ``replay``, ``limits``. Answers are then those
        of the last day that is served; a day that the gate holds back is a warning.

        Errors: InputError as the command gives it, and TypeError for another option.
        """
        root, run = self._fitted(), self._trained
        self._network("an update")
        move_dataset(run, root / DATASET)
        with self._progress() as progress, as_files(Frames(events, users, titles)) as (paths, _):
            of_users, of_titles = (None if path is None else Path(path) for path in (user_vectors, title_vectors))
            files = DayFiles((paths["events"],), paths.get("users"), paths.get("titles"), of_users, of_titles)
            results = list(update(run, files, Options(**options), progress))
        for day in (result.record for result in results if not result.is_served):
            warnings.warn(f"{day['date']} is a candidate and not served: {'; '.join(day['reasons'])}", stacklevel=2)
        self._open(root)
        return results

    # What the model knows

    @property
    def evaluation_(self) -> Evaluation:
        """PR-AUC on the users and days that the fit held out; after an update, on those users' pairs of the day."""
        return RunReader(self.run_).evaluation

    def recommend(
        self, users: Any = None, k: int = 10, territory: str | None = None, titles: Sequence[Any] | None = None,
        day: int | None = None, filter_watched: bool = True, diversify: float | None = None,
    ) -> Any:  # fmt: skip
        """The ``k`` best titles of each user: columns user, title, rank, score and source.

        ``users`` are ids, all of the fit by default. ``source`` is ``model``; of an id that the fit has not seen it is
        ``popular``: the titles with most viewers in ``territory``, or everywhere. Of known users, ``territory`` serves
        them as if they lived there, and ``titles`` are the ids to choose from. ``diversify`` from 0 to 1 trades
        probability for titles that differ (maximal marginal relevance).

        Errors: InputError for an unknown territory or title.
        """
        dataset = self._view(territory, titles)
        ids = self._users.texts(users) if users is not None else dataset.user_ids or []
        rows = rows_of(ids, dataset.user_ids or [])
        known, strangers = list(dict.fromkeys(rows[rows >= 0].tolist())), np.flatnonzero(rows < 0)
        table = self._recommendations(dataset, np.array(known, np.int64), k, day, filter_watched, diversify)
        if len(strangers):
            who = list(dict.fromkeys(ids[i] for i in strangers))
            place = None if territory is None else dataset.territories.index(territory)
            best = most_watched(self._view(None, titles), k, place)
            title, score = (np.broadcast_to(values, (len(who), len(values))) for values in best)
            popular = self._as_table(dataset, who, title, score, ["popular"] * len(who))
            table = import_arrow().concat_tables([table, popular])
        return self._out(table)

    def recommend_new(
        self, histories: Any = None, k: int = 10, territory: str | None = None,
        vectors: Mapping[Any, Sequence[float]] | None = None,
    ) -> Any:  # fmt: skip
        """The ``k`` best titles of people whom the fit has not seen: as ``recommend``.

        ``histories`` is a table of what they watched; titles that the fit does not know do not count. ``source`` is
        ``history``, and ``territory`` for those without: the column of titles may be missing or empty. Where there is
        no column of territories, ``territory`` is everybody's. ``vectors`` are those of each person by id, needed
        where the fit had user vectors of one's own.

        Errors: InputError for a missing column or vector, and for a territory that the fit does not know.
        """
        self._fitted()
        if histories is None and not vectors:
            raise InputError("nobody to recommend to: expected histories, vectors or both")
        table = to_arrow({self.user: list(vectors or ())} if histories is None else histories, "histories")
        told = People(table, self._users, self._titles, self.territory, territory, vectors or {})
        people = told.newcomers(self.dataset_)
        with self._progress() as progress:
            found = self._answers.recommend(people, None, k, None, progress)
        source = np.where(np.isin(np.arange(people.n_users), people.watched[0]), "history", "territory").tolist()
        return self._out(self._as_table(people, found.user, found.title, found.score, source), histories)

    def score(self, pairs: Any) -> Any:
        """The table of pairs (columns user and title) with a column ``score``, the logit; unknown ids have none."""
        return self._scored(pairs, lambda z: z, self._names["score"])

    def predict_proba(self, pairs: Any) -> Any:
        """As ``score``, with a column ``probability``."""
        return self._scored(pairs, lambda z: 1 / (1 + np.exp(-z)), self._names["probability"])

    def evaluate(self, events: Any) -> Any:
        """PR-AUC per territory on later events: columns territory, users, positives, pr_auc, and a last row ``all``.

        The titles that a user of ``events`` watches there for the first time are positives; all others that are
        available and that the fit has not seen the user watch are negatives. Unknown users and titles do not count.

        Errors: InputError when nothing is left to evaluate.
        """
        self._fitted()
        user, title = self._rows(to_arrow(events))
        known = (user >= 0) & (title >= 0)
        if not known.any():
            raise InputError("events: no user and title of the fit in them, so there is nothing to evaluate")
        dataset, pairs = self.dataset_, open_pairs(self.dataset_, user[known], title[known])
        if not pairs.label.any():
            raise InputError("events: the fit has seen their users watch all of these titles already")
        with self._progress() as progress:
            columns = self._answers.per_territory(dataset, pairs, progress)
        return self._out(import_arrow().table(columns), events)

    def similar_titles(self, title: Any, k: int = 10) -> Any:
        """The ``k`` titles whose embeddings are nearest: columns title and score, the cosine."""
        model, _ = self._model("likeness of titles")
        return self._similar(self._titles, title, embed_titles(model, self.dataset_), self.dataset_.title_ids, k)

    def similar_users(self, user: Any, k: int = 10) -> Any:
        """The ``k`` users whose embeddings are nearest: columns user and score, the cosine."""
        model, group = self._model("likeness of users")
        embeddings = embed_users(model, self.dataset_, group)
        return self._similar(self._users, user, embeddings, self.dataset_.user_ids or [], k)

    def explain(self, user: Any, title: Any) -> Mapping[str, Any]:
        """Why a title has its score for a user: the record of ``twotower explain --json``."""
        from twotower.lab.explain.explanation import explain

        self._network("an explanation")
        of = self._users.texts([user])[0], self._titles.texts([title])[0]
        return cast(Mapping[str, Any], plain(explain(self.run_, self.dataset_, *of)))

    # Keeping it

    def save(self, path: str | Path) -> Path:
        """Copy everything to a directory, which must not exist. Errors: InputError where it does."""
        path = Path(path)
        if path.exists():
            raise InputError(f"{path}: exists already; give another directory")
        shutil.copytree(self._fitted(), path)
        move_dataset(path / self._trained.relative_to(self._root), path / DATASET)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "TwoTowerRecommender":
        """One that ``save`` wrote. Errors: InputError where ``path`` is none."""
        facts = read_json(Path(path) / FACTS)
        if not isinstance(facts, dict) or not isinstance(facts.get("params"), dict):
            raise InputError(f"{Path(path) / FACTS}: not a saved recommender")
        return cls(**facts["params"])._open(Path(path))

    def _begin(self) -> Path:
        if self.path is not None:
            root = Path(self.path)
            if root.exists() and any(root.iterdir()):
                raise InputError(f"{root}: exists already; give another directory")
            root.mkdir(parents=True, exist_ok=True)
            return root
        self._folder = TemporaryDirectory(prefix="twotower-")  # removed with the recommender
        return Path(self._folder.name)

    def _open(self, root: Path) -> "TwoTowerRecommender":
        facts = read_json(root / FACTS)
        self._root, self._kind = root, facts["kind"]
        self._names = answer_names(self.columns or {}, self.user, self.title)
        self._users = IdColumn("user", self.user, facts["types"]["user"])
        self._titles = IdColumn("title", self.title, facts["types"]["title"])
        self._trained = self.run_ = root / FIT / "runs" / f"{facts['method']}-{facts.get('seed', self.seed)}"
        self.dataset_ = Dataset.open(root / DATASET)
        if day := current_day(self._trained):
            self.run_, self.dataset_ = day_path(self._trained, day), dataset_of_day(self._trained, day, root / DATASET)
        method = METHODS[facts["method"]]
        self._answers = Answers(self.run_, method, self._setup(root) if method.rival else None)
        self.groups_ = 1 if method.rival else RunReader(self.run_).config["model"]["groups"]
        return self

    def _setup(self, root: Path, progress: Progress = silent) -> Setup:
        """The experiment of one run that a fit is."""
        sample, settings = SampleConfig(**{"seed": self.seed, **(self.sample or {})}), self.settings or {}
        return one_run(root, DATASET, FIT, METHODS[self.method], self.groups, self.preset, settings, sample, progress)

    def _fitted(self) -> Path:
        if not hasattr(self, "_root"):
            raise InputError("this recommender has not been fitted: call fit first")
        return self._root

    # Tables in and out

    def _rows(self, table: "pa.Table") -> tuple[np.ndarray, np.ndarray]:
        """Rows of the users and titles of a table (n,) each, −1 for unknown ones."""
        user = rows_of(self._users.texts_in(table), self.dataset_.user_ids or [])
        return user, rows_of(self._titles.texts_in(table), self.dataset_.title_ids)

    def _out(self, table: "pa.Table", like: Any = None) -> Any:
        """A table of the kind of one that came in, by default of the events of the fit."""
        return from_arrow(table, cast(Kind, self._kind) if like is None else kind_of(like))

    # Rooms below

    def _progress(self) -> AbstractContextManager[Progress]:
        """Bars on a terminal and in a notebook, or where ``verbose``, else silence."""
        wanted = sys.stderr.isatty() or is_notebook() if self.verbose is None else self.verbose
        return show_progress() if wanted else nullcontext(silent)

    def _network(self, what: str) -> None:
        """Errors: InputError where there is no single network, which ``what`` needs."""
        self._fitted()
        if not self._answers.is_network:
            raise InputError(f"method {self._answers.method.name!r}: {what} needs one network, such as method 'mtl'")

    def _model(self, what: str) -> tuple[Any, np.ndarray]:
        self._network(what)
        return open_model(self.run_, self.dataset_)

    def _view(self, territory: str | None, titles: Sequence[Any] | None) -> Dataset:
        """The dataset, with all users living in ``territory`` and only ``titles`` available."""
        self._fitted()
        place = None if territory is None else self.dataset_.territories.index(territory)
        rows = None if titles is None else self._known(self._titles, titles, self.dataset_.title_ids)
        return restricted(self.dataset_, place, rows)

    def _known(self, column: IdColumn, ids: Sequence[Any], known: Sequence[str]) -> np.ndarray:
        """Rows (n,) of ids. Errors: InputError for one that the fit has not seen."""
        rows = rows_of(column.texts(ids), known)
        if (rows < 0).any():
            raise InputError(f"no {column.what} {ids[int(np.argmin(rows))]!r} in the fit")
        return rows

    def _recommendations(
        self, dataset: Dataset, rows: np.ndarray, k: int, day: int | None, filter_watched: bool, diversify: float | None
    ) -> "pa.Table":
        if not len(rows):
            empty = np.empty((0, 1), np.int32)
            return self._as_table(dataset, rows, empty, empty.astype(np.float32), [])
        with self._progress() as progress:
            deep = k if diversify is None else DEEPER * k
            found = self._answers.recommend(dataset, rows, deep, day, progress, filter_watched)
        title, score = found.title, found.score
        if diversify is not None:
            place = diversified(title, score, embed_titles(self._model("diversify")[0], self.dataset_), k, diversify)
            title, score = (np.take_along_axis(of, place, axis=1) for of in (title, score))
        return self._as_table(dataset, found.user, title, score, ["model"] * len(title))

    def _as_table(
        self, dataset: Dataset, users: Sequence[str] | np.ndarray, title: np.ndarray, score: np.ndarray,
        source: Sequence[str],
    ) -> "pa.Table":  # fmt: skip
        """Lists (n, k) of users, who are rows of the dataset or ids."""
        known = dataset.user_ids or []
        ids = [known[u] for u in users.tolist()] if isinstance(users, np.ndarray) else list(users)
        return ranked_table(self._users, self._titles, ids, dataset.title_ids, title, score, source, self._names)

    def _similar(self, column: IdColumn, one: Any, embeddings: np.ndarray, ids: Sequence[str], k: int) -> Any:
        found: Neighbours = nearest(embeddings, self._known(column, [one], ids), k)
        names = column.array([ids[i] for i in found.row[0].tolist()])
        return self._out(import_arrow().table({column.name: names, self._names["score"]: found.cosine[0]}))

    def _scored(self, pairs: Any, value: Any, name: str) -> Any:
        self._fitted()
        table = to_arrow(pairs, "pairs")
        user, title = self._rows(table)
        known = (user >= 0) & (title >= 0)
        scores = np.full(len(user), np.nan, np.float32)
        if known.any():
            n = int(known.sum())
            asked = Pairs(user[known], title[known].astype(np.int32), np.zeros(n, np.float32), np.zeros(n, np.int32))
            scores[known] = value(self._answers.score(self.dataset_, asked))
        return from_arrow(with_column(table, name, import_arrow().array(scores, mask=~known)), kind_of(pairs))

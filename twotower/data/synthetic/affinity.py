"""The truth of a synthetic world: who likes what, by group of territories.

    affinity(u, t) = <M_g z_u, β a_t> + b_ct + f [t is of u's favourite collection]    u lives in territory c of group g
    share(u, t)    = exp(affinity) / Σ over the titles available in c

M_g = cos θ I + sin θ J_g turns tastes in planes of group g's own, by θ = shift · 90°. More:
docs/explanation/world.md.
"""

from dataclasses import dataclass

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.synthetic.catalogue import KINDS, TASTE_DIM, Catalogue
from twotower.data.synthetic.world import WorldConfig

POPULARITY = 1.0  # nats: mean of log-popularity, which is exponential: a Pareto tail of index 1
FAVOURITE = 3.0  # f, nats: bonus of a title of the user's favourite collection
LOVE = {"global": 0.0, "regional": 0.7, "local": 2.0}  # nats: bonus of a title where it is available
GROUP_APPEAL = 1.0  # nats: standard deviation of what a group adds to a title's appeal, at shift 1
TERRITORY_APPEAL = 1.2  # nats: the same of a single territory
BLOCK_PAIRS = 16384  # pairs whose true affinity is computed at a time: their users times T shares


@dataclass(frozen=True)
class Affinity:
    """Tastes and appeals. C territories, T titles, K groups, d dimensions of taste."""

    group: np.ndarray  # (C,) int64, the true group of each territory
    turn: np.ndarray  # (K, d, d) float32 rotations M_g
    title_taste: np.ndarray  # (T, d) float32: β a_t: unit vectors times the strength of taste
    appeal: np.ndarray  # (C, T) float32: b_ct, −inf where the title is not available
    collection: np.ndarray  # (T,) int64

    def favourites(self, territory: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The favourite collection of users of territory (n,), one with a title there: (n,) int32."""
        there = np.zeros((len(self.group), self.collection.max() + 1), bool)  # has a title in the territory
        for collection, available in zip(self.collection, np.isfinite(self.appeal).T, strict=True):
            there[:, collection] |= available
        first = np.argsort(~there, axis=1, kind="stable")  # those of the territory come first
        place = rng.random(len(territory)) * there.sum(axis=1)[territory]
        return first[territory, place.astype(np.int64)].astype(np.int32)

    def shares(self, taste: np.ndarray, favourite: np.ndarray, territory: np.ndarray) -> np.ndarray:
        """How users with taste (n, d) and a favourite (n,) in territory (n,) spread first streams: (n, T) float32."""
        turned = np.empty_like(taste)
        group = self.group[territory]
        for g in range(len(self.turn)):
            turned[group == g] = taste[group == g] @ self.turn[g].T
        shares = turned @ self.title_taste.T  # (n, T), still the affinity
        shares += self.appeal[territory]
        shares += np.float32(FAVOURITE) * (favourite[:, None] == self.collection)
        shares -= shares.max(axis=1, keepdims=True)
        np.exp(shares, out=shares)
        shares /= shares.sum(axis=1, keepdims=True)
        return shares

    def write(self, writer: DatasetWriter) -> None:
        for name, array in vars(self).items():
            writer.write_truth(name, array)

    @classmethod
    def read(cls, dataset: Dataset) -> "Affinity":
        """The truth of a simulated dataset. Errors: InputError when it has none."""
        return cls(*(np.asarray(dataset.truth(name)) for name in cls.__dataclass_fields__))


def make_affinity(config: WorldConfig, catalogue: Catalogue, group: np.ndarray, rng: np.random.Generator) -> Affinity:
    """Sample the truth; group (C,) is the true group of each territory. At shift 0 all places are alike."""
    n_titles, n_territories = catalogue.availability.shape
    popularity = rng.exponential(POPULARITY, n_titles)
    love = np.array([LOVE[kind] for kind in KINDS])[catalogue.kind]
    turn = make_turns(config.groups, config.shift, rng)
    by_group = GROUP_APPEAL * rng.standard_normal((config.groups, n_titles))
    by_territory = TERRITORY_APPEAL * rng.standard_normal((n_territories, n_titles))
    appeal = popularity + love + config.shift * (by_group[group] + by_territory)  # (C, T)
    return Affinity(
        group=group.astype(np.int64),
        turn=turn.astype(np.float32),
        title_taste=(config.taste * catalogue.taste).astype(np.float32),
        appeal=np.where(catalogue.availability.T, appeal, -np.inf).astype(np.float32),
        collection=catalogue.collection,
    )


def make_turns(groups: int, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Rotations M_g = cos θ I + sin θ J_g (K, d, d) with θ = shift · 90°; J_g turns d/2 random planes by 90°.

    M_g is orthogonal, since J_g is antisymmetric and J_g² = −I: no taste is lost or weakened. The best single
    map for many groups is their mean cos θ I, whose affinities correlate cos θ with those of each group.
    """
    half = TASTE_DIM // 2
    quarter_turn = np.kron([[0.0, -1.0], [1.0, 0.0]], np.eye(half))  # (d, d)
    planes, _ = np.linalg.qr(rng.standard_normal((groups, TASTE_DIM, TASTE_DIM)))
    J = planes @ quarter_turn @ planes.transpose(0, 2, 1)
    theta = shift * np.pi / 2
    return np.cos(theta) * np.eye(TASTE_DIM) + np.sin(theta) * J


def true_affinity(dataset: Dataset, users: np.ndarray, titles: np.ndarray) -> np.ndarray:
    """Log of a title's share of a user's first streams: users (n,), titles (n,) → (n,) float32.

    The best possible ranking of pairs in expectation: against uniformly sampled titles this is the log-likelihood
    ratio, up to the number of titles in the territory. −inf where a title is not available.
    """
    affinity = np.empty(len(users), np.float32)
    for pairs in np.array_split(np.argsort(users, kind="stable"), len(users) // BLOCK_PAIRS + 1):
        unique, row = np.unique(users[pairs], return_inverse=True)
        affinity[pairs] = true_affinities(dataset, unique)[row, titles[pairs]]
    return affinity


def true_affinities(dataset: Dataset, users: np.ndarray) -> np.ndarray:
    """The same of users (n,) and all titles: (n, T) float32."""
    taste, favourite = (np.asarray(dataset.truth(name)[users]) for name in ("user_taste", "user_favourite"))
    shares = Affinity.read(dataset).shares(taste, favourite, np.asarray(dataset.user_territory[users]))
    with np.errstate(divide="ignore"):
        return np.log(shares)

"""Vectors as an upstream model would make them: noisy views of the synthetic truth."""

from dataclasses import dataclass

import numpy as np

from twotower.data.synthetic.catalogue import TASTE_DIM, Catalogue
from twotower.data.synthetic.world import WorldConfig

TERRITORY_DIM = 16  # dimensions of a user vector that encode its territory
USER_NOISE = 0.5  # standard deviation added to each column of a user vector, whose signal has 1.4 at most
TEXT_NOISE = 0.5  # standard deviation added to each column of a text vector, whose signal has 1
USER_DTYPE = np.float16
CATEGORIES = ("kind", "home", "genre", "format", "language")  # columns of titles.csv that become one-hot


@dataclass(frozen=True)
class UserEncoder:
    """The upstream model of users. F_u columns, C territories, d dimensions of taste."""

    noise: float  # first streams after which half of the taste is known
    territory_code: np.ndarray  # (C, TERRITORY_DIM) float32
    projection: np.ndarray  # (d + TERRITORY_DIM + 1, F_u) float32

    def user_vectors(
        self, taste: np.ndarray, territory: np.ndarray, streams: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Vectors (n, F_u) float16 of users with taste (n, d) in territory (n,) after (n,) first streams.

        A noisy random projection of taste, territory and activity. Taste z is replaced by its posterior
        mean after s + 1 observations with noise variance κ, under the prior N(0, I): with w = (s + 1) / (s + 1 + κ),
        w z + √(w (1 − w)) N(0, I).
        """
        w = ((streams + 1) / (streams + 1 + self.noise)).astype(np.float32)[:, None]
        known = w * taste + np.sqrt(w * (1 - w)) * rng.standard_normal(taste.shape, np.float32)
        activity = np.log1p(streams).astype(np.float32)[:, None] / 2  # about from 0 to 2
        signal = np.concatenate([known, self.territory_code[territory], activity], axis=1)
        vectors = rng.standard_normal((len(taste), self.projection.shape[1]), np.float32)
        vectors *= USER_NOISE
        vectors += signal @ self.projection
        return vectors.astype(USER_DTYPE)


def make_user_encoder(config: WorldConfig, rng: np.random.Generator) -> UserEncoder:
    shape = (TASTE_DIM + TERRITORY_DIM + 1, config.user_dim)
    return UserEncoder(
        noise=config.noise,
        territory_code=rng.standard_normal((config.territories, TERRITORY_DIM)).astype(np.float32),
        projection=(rng.standard_normal(shape) / np.sqrt(TASTE_DIM)).astype(np.float32),
    )


def title_vectors(
    catalogue: Catalogue, columns: dict[str, list[str]], title_dim: int, rng: np.random.Generator
) -> np.ndarray:
    """Text vectors and one-hot categories of titles: (T, title_dim + number of categories) float32.

    The text columns are a random projection of the title's taste, with noise. Popularity is in none of them.
    """
    projection = rng.standard_normal((TASTE_DIM, title_dim))
    text = catalogue.taste @ projection + TEXT_NOISE * rng.standard_normal((len(catalogue), title_dim))
    one_hot = [np.array(columns[name])[:, None] == np.unique(columns[name]) for name in CATEGORIES]
    return np.concatenate([text, *one_hot], axis=1).astype(np.float32)

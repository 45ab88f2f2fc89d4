"""The titles of a synthetic world: kind, home territory, availability, launch, taste."""

from dataclasses import dataclass

import numpy as np

from twotower.data.countries import load_countries
from twotower.data.grouping import on_sphere
from twotower.data.synthetic.world import WorldConfig
from twotower.data.territories import Territories

KINDS = ("global", "regional", "local")
FORMATS = ("film", "series")
SERIES_SHARE = 0.5
REGION_TERRITORIES = 30  # a regional title is available in this many territories, those nearest to its home
LAUNCHED_SHARE = 0.9  # of the titles are launched before the log; the others on a day of the log
TASTE_DIM = 16  # d, dimensions of taste; even, because tastes turn in planes (see affinity.py)
GENRE_WEIGHT = 0.7  # cosine between a title's taste and its genre's, before the title's own part is added
COLLECTION_TITLES = 40  # that the same users love: of one home, of a few, or of the whole world
KEYWORDS = 8  # words of a title's text
KEYWORD_SHARPNESS = 6.0  # nats: how much closer words are preferred

GENRES = {
    "action": "chase heist explosion rescue mercenary convoy helicopter hostage",
    "animation": "dragon toy forest magic penguin wizard puppet rainbow",
    "comedy": "wedding roommate mistake office neighbour reunion disguise holiday",
    "crime": "detective murder alibi cartel witness evidence informant verdict",
    "documentary": "archive glacier interview expedition wildlife history protest ocean",
    "drama": "inheritance grief village strike hospital orphan betrayal harvest",
    "family": "summer puppy grandmother school camp birthday treehouse snow",
    "fantasy": "kingdom curse prophecy sword witch throne oracle quest",
    "horror": "basement ritual haunting doll asylum scream cellar moon",
    "romance": "letter café violin sunset bookshop promise train dance",
    "science fiction": "android colony wormhole signal clone orbit memory spaceship",
    "sport": "coach final stadium rival boxer marathon penalty comeback",
}
ADJECTIVES = """
    Silent Golden Broken Hidden Crimson Distant Endless Frozen Burning Gentle Hollow Iron Last Lost
    Lucky Midnight Northern Paper Quiet Restless Salted Scarlet Second Secret Shallow Silver Small
    Southern Stolen Sudden Tender Thirteenth Unwritten Velvet Wandering Western Wild Winter Wooden
    Yellow
"""
NOUNS = """
    Harbour River Garden Winter Letter Mountain Bridge Orchard Station Mirror Island Summer Kitchen
    Horizon Lantern Sparrow Theatre Avenue Bicycle Canyon Daughter Engine Festival Guest Hotel Journey
    Kingdom Lighthouse Market Neighbour Ocean Piano Question Republic Shadow Tide Uncle Valley Window
    Year
"""


@dataclass(frozen=True)
class Catalogue:
    """The truth about each title. T titles, C territories, G genres, d dimensions of taste."""

    kind: np.ndarray  # (T,) row of KINDS
    home: np.ndarray  # (T,) home territory
    collection: np.ndarray  # (T,) titles that go together, numbered from 0
    genre: np.ndarray  # (T,) row of GENRES
    format: np.ndarray  # (T,) row of FORMATS
    taste: np.ndarray  # (T, d) float32 unit vectors
    genre_taste: np.ndarray  # (G, d) unit vectors
    launch: np.ndarray  # (T,) int64 day, from −history_days on
    availability: np.ndarray  # (T, C) bool

    def __len__(self) -> int:
        return len(self.kind)


def make_catalogue(config: WorldConfig, territories: Territories, rng: np.random.Generator) -> Catalogue:
    """Draw the titles; homes go by the square root of the number of users, so that all majors have some."""
    counts = [config.n_global, config.n_regional, config.n_local]
    kind = rng.permutation(np.repeat(np.arange(len(KINDS)), counts))
    home = np.empty(config.titles, np.int64)
    for k, count in enumerate(counts):
        home[kind == k] = rng.permutation(_spread(np.sqrt(territories.users), count))
    genre_taste = _unit(rng.standard_normal((len(GENRES), TASTE_DIM)))
    genre = rng.integers(len(GENRES), size=config.titles)
    own = _unit(rng.standard_normal((config.titles, TASTE_DIM)))
    launch = rng.integers(-config.history_days, config.end_day, size=config.titles)
    launched = rng.random(config.titles) < LAUNCHED_SHARE
    return Catalogue(
        kind=kind,
        home=home,
        collection=_collections(np.where(kind == 0, -1, home), rng),
        genre=genre,
        format=(rng.random(config.titles) < SERIES_SHARE).astype(np.int64),
        taste=_blend(genre_taste[genre], own),
        genre_taste=genre_taste,
        launch=np.where(launched, -config.history_days, launch),
        availability=_availability(kind, home, territories),
    )


def _spread(weight: np.ndarray, count: int) -> np.ndarray:
    """``count`` rows in proportion to ``weight``: systematic sampling, so no row is off by a whole one."""
    ends = np.cumsum(weight) / weight.sum()
    rows = np.searchsorted(ends, (np.arange(count) + 0.5) / max(count, 1))
    return np.minimum(rows, len(weight) - 1)


def _collections(home: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Parts (T,) of about ``COLLECTION_TITLES`` titles each, at random among those of the same home."""
    rank = np.argsort(np.lexsort((rng.random(len(home)), home)))
    return rank // COLLECTION_TITLES


def _availability(kind: np.ndarray, home: np.ndarray, territories: Territories) -> np.ndarray:
    """(T, C): a global title everywhere, a regional one in its home and nearby, a local one at home only."""
    points = on_sphere(territories.latitude, territories.longitude)  # (C, 3)
    nearness = points @ points.T  # (C, C)
    np.fill_diagonal(nearness, 2.0)  # home comes first, even before a neighbour at the same place
    rank = np.argsort(np.argsort(-nearness, axis=1, kind="stable"), axis=1)  # 0 is home itself
    reach = np.array([len(territories), REGION_TERRITORIES, 1])  # territories in the order of KINDS
    return rank[home] < reach[kind][:, None]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _blend(genre: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Unit vectors between two: (n, d) float32."""
    return _unit(GENRE_WEIGHT * genre + np.sqrt(1 - GENRE_WEIGHT**2) * own).astype(np.float32)


def title_columns(catalogue: Catalogue, territories: Territories, rng: np.random.Generator) -> dict[str, list[str]]:
    """The columns of titles.csv: names, categories, and a text whose words follow the title's taste."""
    language_of = {country.code: country.language for country in load_countries()}
    language = [language_of[territories.code[home]] for home in catalogue.home]
    genre = [list(GENRES)[g] for g in catalogue.genre]
    form = [FORMATS[f] for f in catalogue.format]
    return {
        "title": _names(len(catalogue), rng),
        "kind": [KINDS[k] for k in catalogue.kind],
        "home": [territories.code[home] for home in catalogue.home],
        "genre": genre,
        "format": form,
        "language": language,
        "text": [
            f"{lang} {g} {f}: {' '.join(words)}"
            for lang, g, f, words in zip(language, genre, form, _keywords(catalogue, rng), strict=True)
        ],
    }


def _names(count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different names; a number marks those of the second and later rounds."""
    adjectives, nouns = ADJECTIVES.split(), NOUNS.split()
    pairs = len(adjectives) * len(nouns)
    names = []
    for pair in rng.permutation(-(-count // pairs) * pairs)[:count].tolist():
        noun, adjective = divmod(pair % pairs, len(adjectives))
        number = f" {pair // pairs + 1}" if pair >= pairs else ""
        names.append(f"{adjectives[adjective]} {nouns[noun]}{number}")
    return names


def _keywords(catalogue: Catalogue, rng: np.random.Generator) -> list[list[str]]:
    """Words of each title without replacement, the nearer to its taste the likelier: Gumbel top-k."""
    words = [(g, word) for g, line in enumerate(GENRES.values()) for word in line.split()]
    own = _unit(rng.standard_normal((len(words), TASTE_DIM)))
    taste = _blend(catalogue.genre_taste[[g for g, _ in words]], own)  # (W, d)
    score = KEYWORD_SHARPNESS * catalogue.taste @ taste.T + rng.gumbel(size=(len(catalogue), len(words)))
    top = np.argsort(-score, axis=1)[:, :KEYWORDS]  # (T, KEYWORDS)
    return [[words[w][1] for w in row] for row in top]

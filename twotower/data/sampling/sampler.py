"""Sample users and pairs, and write them into the dataset.

Samples with the same seed and test options share their test users (sampled_users.py) and their test pairs: a user's
negatives are a function of seed, user and day (negatives.py).
"""

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.sample import SampledTotals, SampleRecord, SampleWriter
from twotower.data.sampling.imbalance import SampleSummary
from twotower.data.sampling.sample_config import AUTO, SampleConfig
from twotower.data.sampling.sampled_pairs import PairSampler
from twotower.data.sampling.sampled_users import sample_users


def sample(
    dataset: Dataset,
    config: SampleConfig,
    progress: Progress = silent,
    name: str = "default",
    overwrite: bool = False,
) -> SampleSummary:
    """Sample users and pairs, and write them into the dataset as the sample ``name``.

    Positives are first streams, on training days of the training users and on test days of the test users; in
    a dataset without test days, such as a log without timestamps, on training days of both. Those of titles that are
    not available where the user lives are left out, since such titles are never negatives. Each positive gets ``alpha``
    negatives on the same day and in the same territory. Pairs of the training users on the test days are sampled
    in the same way and kept apart, for walk-forward training.

    Errors: InputError when the sample exists, when users are too few, and when there is no positive.
    """
    if not dataset.train_days:
        raise InputError(f"{dataset.path}: no training days: all of its log is history, for scoring only")
    with SampleWriter(dataset, name, overwrite) as writer:
        watched = FirstStreams.read(dataset, progress)
        users = sample_users(dataset, watched, config)
        writer.write_users(users.train, users.active, users.test)
        alpha = automatic_alpha(dataset, watched) if config.alpha == AUTO else float(config.alpha)
        if config.alpha != AUTO:
            check_alpha(dataset, alpha, len(users.train) if config.negatives == "population" else 1)
        pairs = PairSampler(dataset, watched, users, alpha, config)
        training_days = range(dataset.train_days)
        test_days = range(dataset.train_days, dataset.train_days + dataset.test_days) or training_days
        new_days = test_days if dataset.test_days else range(0)
        for split, who, days in (
            ("train", users.train, training_days),
            ("update", users.train, new_days),
            ("test", users.test, test_days),
        ):
            for done, (day, *columns) in enumerate(pairs.sample(split, who, days), 1):
                writer.write_pairs(split, day, *columns)
                progress(f"sampling {split} pairs", done, len(days))
        sampled = SampledTotals(
            alpha=alpha,
            random_users=int((~users.active).sum()),
            active_users=int(users.active.sum()),
            test_users=len(users.test),
            unavailable_positives=int(pairs.unavailable.sum()),
            missing_negatives=int(pairs.shortfall.sum()),
        )
        writer.finish(SampleRecord(**vars(config), sampled=sampled))  # type: ignore[typeddict-item]
    return pairs.summary()


def check_alpha(dataset: Dataset, alpha: float, users: int) -> None:
    """Errors: InputError for more negatives per positive than there are pairs of ``users`` and titles."""
    most = users * dataset.n_titles
    if alpha > most:
        whose = counted(dataset.n_titles, "title") + (f" for each of {users:,} users" if users > 1 else "")
        expected = f"expected at most {most:,}" if most > 1 else "nothing can be ranked: import a log of more titles"
        raise InputError(f"--alpha {alpha:g} negatives per positive: {dataset.path} has {whose}; {expected}")


def automatic_alpha(dataset: Dataset, watched: FirstStreams) -> float:
    """Users over mean daily first-time streamers of the training days, as in the paper.

    Positives are then as rare among the pairs as first-time streamers are among the users of a day.
    """
    streamers = watched.users_per_day(dataset.train_days).mean()
    if streamers == 0:
        raise InputError(
            f"{dataset.path}: no first stream on days 0–{dataset.train_days - 1}, "
            "so --alpha auto has no value; set a number"
        )
    return float(dataset.n_users / streamers)

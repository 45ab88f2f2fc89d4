"""What all runs of an experiment share: the dataset, the samples, and who goes through which head."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import Dataset
from twotower.data.grouping import random_groups, viewing_groups
from twotower.data.sample import Pairs, Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.data.sampling.sampler import sample
from twotower.experiments.methods import Method
from twotower.experiments.plan import Plan, period_name
from twotower.metrics.local_titles import count_positives
from twotower.training.job import choose_groups, fingerprint, make_if_missing, open_dataset, shuffled_heads
from twotower.training.periods import period_of, periods

SAMPLE_PREFIX = "experiment-"  # of the names of samples in their dataset
FEWEST_POSITIVES = 10  # of the test: what fewer say of a method is chance
DEV_PREFIX = "dev-"  # of those with other users in place of the test users


class Setup:
    """Opened once; everything heavy is read once. ``periods`` are the test days in blocks."""

    def __init__(self, plan: Plan, progress: Progress):
        """Make what is missing, the built-in world and the samples.

        Errors: InputError when an existing sample has other settings, and as for sampling.
        """
        self.dataset = open_dataset(plan.dataset, progress)
        self.samples: dict[str, Sample] = open_samples(self.dataset, plan, progress)
        self.dataset.check_vectors(progress)
        test_days = next(iter(self.samples.values())).test_days  # the same in all samples
        self.periods = periods(test_days, max(1, plan.periods)) if self.dataset.test_days else [tuple(test_days)]
        incremental = len(self.periods) if len(self.periods) > 1 else 0
        self.plan = replace(plan, periods=incremental)  # as far as there are days
        if any(method.multi_task for method in plan.methods):
            choose_groups(self.dataset.territories, plan.groups)  # can that be?

    def check_support(self) -> None:
        """Errors: InputError when a period has no test positive, or all together have too few."""
        positives = np.bincount(self.period[self.test_pairs.label > 0], minlength=len(self.periods))
        more = "sample more --test-users, or run twotower import with more --test-days"
        if not positives.all():
            days = period_name(self.periods[int(np.argmin(positives))])
            fewer = "ask for fewer --periods, " if len(self.periods) > 1 else ""
            raise InputError(f"{self.dataset.path}: no test positive on {days}; {fewer}{more}")
        if positives.sum() < FEWEST_POSITIVES:
            found = f"only {counted(int(positives.sum()), 'test positive')}, too few for any comparison"
            raise InputError(f"{self.dataset.path}: {found}; {more}")

    @property
    def last_period(self) -> tuple[int, ...]:
        """The test days that the weights of the runs were evaluated on: those after the last update."""
        return self.periods[-1]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of what each sample's models are trained on."""
        return {kind: fingerprint(self.dataset, sampled) for kind, sampled in self.samples.items()}

    @cached_property
    def reference(self) -> Sample:
        """The sample of the method that the experiment is about: local titles and popularity are read off it."""
        return self.samples[self.plan.method(self.plan.main_method).sample]

    @cached_property
    def test_pairs(self) -> Pairs:
        """The test pairs, which all samples share."""
        return self.reference.test_pairs()

    @cached_property
    def period(self) -> np.ndarray:
        """Period of each test pair (B,)."""
        return period_of(self.test_pairs.day, self.periods)

    @cached_property
    def positives(self) -> dict[str, np.ndarray]:
        """Training positives per territory and title (C, T) of each sample."""
        return {kind: self._positives(sampled) for kind, sampled in self.samples.items()}

    def _positives(self, sampled: Sample) -> np.ndarray:
        pairs = sampled.train_pairs()
        positive = pairs.take(pairs.label > 0)
        territory = np.asarray(self.dataset.user_territory)[positive.user]
        return count_positives(positive.title, territory, self.dataset.n_titles, self.dataset.n_territories)

    @cached_property
    def geography(self) -> np.ndarray:
        """Group of each territory (C,): the dataset's own if it has that many, else geographic."""
        return choose_groups(self.dataset.territories, self.plan.groups)

    def heads(self, method: Method, seed: int) -> tuple[Dataset, np.ndarray]:
        """A dataset that says whose head serves each user, and the group of each territory (C,), for a run.

        Random groups and the assignment of shuffled users differ between seeds.
        """
        territories = self.dataset.territories
        if not method.multi_task:
            return self.dataset, choose_groups(territories, 1)
        if method.grouping == "viewing":
            positives, availability = self.positives[method.sample], self.dataset.availability
            return self.dataset, viewing_groups(territories, positives, availability, self.plan.groups)
        if method.grouping == "random":
            return self.dataset, random_groups(territories, self.plan.groups, generator(seed, Stream.RANDOM_GROUPS))
        if method.grouping == "shuffled":
            return shuffled_heads(self.dataset, seed), self.geography
        return self.dataset, self.geography


def open_samples(dataset: Dataset, plan: Plan, progress: Progress) -> dict[str, Sample]:
    """The samples that the plan's methods are trained on, by kind; missing ones are made.

    All have the same test users and the same random users. Errors: InputError where one has other settings.
    """
    kinds = {method.sample for method in plan.methods}
    if "more-random" in kinds:
        kinds.add("upsampled")  # it says how many more
    opened: dict[str, Sample] = {}
    for kind in ("random", "upsampled", "more-random"):
        if kind in kinds:
            opened[kind] = open_sample(dataset, kind, sample_config(kind, plan.sample, opened), progress)
    digests = {kind: sampled.test_users.tobytes() for kind, sampled in opened.items()}
    if len(set(digests.values())) > 1:
        raise InputError(
            f"{dataset.path}: "
            f"its samples {', '.join(digests)} have different test users; remove them, or give another --name"
        )
    return opened


def sample_config(kind: str, upsampled: SampleConfig, opened: Mapping[str, Sample]) -> SampleConfig:
    """The settings of a kind of sample, from those of the upsampled one."""
    if kind == "upsampled":
        return upsampled
    if kind == "random":
        return replace(upsampled, active_users=0)
    sampled = opened["upsampled"].config["sampled"]
    return replace(upsampled, random_users=sampled["random_users"] + sampled["active_users"], active_users=0)


def open_sample(dataset: Dataset, kind: str, config: SampleConfig, progress: Progress) -> Sample:
    """A sample of the dataset, made now where there is none. Errors: InputError where it has other settings."""
    name = (DEV_PREFIX if config.dev_users else SAMPLE_PREFIX) + kind
    make_if_missing(dataset.path / "samples" / name, lambda: sample(dataset, config, progress, name))
    opened = Sample(dataset, name)
    sampled: Mapping[str, object] = opened.config
    for key, wanted in asdict(config).items():
        if sampled[key] != wanted:
            found = f"{sampled[key]!r}, this experiment asks for {wanted!r}"
            raise InputError(f"{opened.path}: sampled with {key} = {found}; remove it, or ask for the same")
    return opened

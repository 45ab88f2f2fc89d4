"""The titles of a synthetic world."""

import dataclasses

import numpy as np
import pytest

from twotower.data.grouping import on_sphere
from twotower.data.synthetic.catalogue import GENRES, KINDS, REGION_TERRITORIES, make_catalogue, title_columns
from twotower.data.synthetic.world import WorldConfig, make_territories


def world(seed=0, **settings):
    config = WorldConfig(**settings)
    territories = make_territories(config, np.random.default_rng(seed))
    return config, territories, make_catalogue(config, territories, np.random.default_rng(seed))


def of_kind(catalogue, name):
    return catalogue.kind == KINDS.index(name)


def test_there_are_as_many_titles_of_each_kind_as_asked_for():
    _, _, catalogue = world(titles=200, local=0.3, regional=0.2)
    assert [int(of_kind(catalogue, name).sum()) for name in KINDS] == [100, 40, 60]


def test_global_titles_are_everywhere_and_local_ones_at_home_only():
    _, territories, catalogue = world()
    everywhere = catalogue.availability.sum(axis=1)
    assert (everywhere[of_kind(catalogue, "global")] == len(territories)).all()
    assert (everywhere[of_kind(catalogue, "local")] == 1).all()
    assert catalogue.availability[np.arange(len(catalogue)), catalogue.home].all()


def test_regional_titles_are_in_the_nearest_territories():
    _, territories, catalogue = world()
    points = on_sphere(territories.latitude, territories.longitude)
    for title in np.flatnonzero(of_kind(catalogue, "regional")):
        nearness = points @ points[catalogue.home[title]]
        there = catalogue.availability[title]
        assert there.sum() == REGION_TERRITORIES and nearness[there].min() >= nearness[~there].max() - 1e-12


def test_a_region_is_no_larger_than_a_small_world():
    _, _, catalogue = world(users=100, territories=5)
    assert (catalogue.availability[of_kind(catalogue, "regional")].sum(axis=1) == 5).all()


def test_every_major_market_has_local_titles_and_the_largest_has_most():
    _, _, catalogue = world()
    locals_at = np.bincount(catalogue.home[of_kind(catalogue, "local")], minlength=200)
    assert locals_at[:16].min() >= 1 and locals_at.argmax() == 0 and locals_at[16:].sum() > 0
    assert (np.diff(catalogue.home[of_kind(catalogue, "local")]) < 0).any()  # in mixed order


def test_a_tenth_of_the_titles_launch_during_the_log():
    config, _, catalogue = world(titles=20_000, history_days=50)
    late = catalogue.launch > -50
    assert late.mean() == pytest.approx(0.1, abs=0.02)
    assert catalogue.launch.min() == -50 and catalogue.launch.max() == config.end_day - 1
    assert np.histogram(catalogue.launch[late], 4)[0].min() > 200
    assert catalogue.launch[late].min() < -45


def test_tastes_are_unit_vectors_near_to_their_genre():
    _, _, catalogue = world(titles=1000)
    assert np.linalg.norm(catalogue.taste, axis=1) == pytest.approx(1, abs=1e-5)
    nearness = catalogue.taste @ catalogue.genre_taste.T
    own = nearness[np.arange(1000), catalogue.genre]
    assert own.mean() > 0.6 and (nearness.argmax(axis=1) == catalogue.genre).mean() > 0.8


def test_titles_have_names_of_their_own_in_any_number():
    config, territories, catalogue = world(titles=4000)
    columns = title_columns(catalogue, territories, np.random.default_rng(0))
    assert list(columns) == ["title", "kind", "home", "genre", "format", "language", "text"]
    assert all(len(column) == config.titles for column in columns.values())
    assert len(set(columns["title"])) == 4000
    assert not any('"' in cell or "," in cell for cell in columns["title"])


def test_the_columns_say_what_is_true():
    _, territories, catalogue = world()
    columns = title_columns(catalogue, territories, np.random.default_rng(0))
    assert columns["kind"] == [KINDS[k] for k in catalogue.kind]
    assert columns["home"] == [territories.code[h] for h in catalogue.home]
    assert columns["genre"] == [list(GENRES)[g] for g in catalogue.genre]
    spoken = dict(zip(columns["home"], columns["language"], strict=True))
    assert (spoken["US"], spoken["DE"], spoken["JP"], spoken["BR"]) == (
        "English",
        "German",
        "Japanese",
        "Portuguese",
    )
    first = [columns[name][0] for name in ("language", "genre", "format")]
    assert columns["text"][0].startswith(" ".join(first) + ": ")


def test_the_words_of_a_text_follow_the_taste_of_the_title():
    _, territories, catalogue = world(titles=300)
    texts = title_columns(catalogue, territories, np.random.default_rng(0))["text"]
    words = [set(text.partition(": ")[2].split()) for text in texts]
    assert {len(w) for w in words} == {8}
    alike, shared = [], []
    for i in range(0, 300, 2):
        alike.append(float(catalogue.taste[i] @ catalogue.taste[i + 1]))
        shared.append(len(words[i] & words[i + 1]))
    assert np.corrcoef(alike, shared)[0, 1] > 0.4


def test_a_seed_means_one_catalogue():
    first, same, other = (world(seed=seed)[2] for seed in (1, 1, 2))
    for field in dataclasses.fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(same, field.name)), field.name
    assert not np.array_equal(first.taste, other.taste)


def test_no_word_stands_for_two_genres():
    words = " ".join(GENRES.values()).split()
    assert len(words) == len(set(words)) == 8 * len(GENRES)

"""Single users of a batch: chosen by a stated rule, and their gradients on the way back are the textbook's."""

import numpy as np
import pytest
from subjects import tiny_subject
from textbook_inspection import MODELS, Textbook, stirred

from twotower.lab.attribution.inspection import inspect
from twotower.lab.attribution.rows import PAIRS, ROWS, pairs_of, select_rows
from twotower.model import reference


def test_rows_are_chosen_from_the_largest_gradient_to_the_smallest():
    size = np.array([1, 9, 5, 7, 3, 8, 4, 10], float)
    dU = np.stack([size, np.zeros(8)], axis=1)
    found = select_rows(dU, np.array([0, 7, 7, 8]), most=3)
    assert found == [(1, 0), (2, 0), (0, 0), (7, 2)], "ranks 0, 3 and 6 of seven, none of nobody, the only one"


def test_a_group_of_few_is_taken_whole():
    assert select_rows(np.eye(4)[:2], np.array([0, 2])) == [(0, 0), (1, 0)]


@pytest.fixture(scope="module", params=MODELS)
def found(request, tiny_world):
    subject = stirred(tiny_world, request.param)
    return Textbook(subject), inspect(subject)


def rows_of(textbook, record) -> list[int]:
    """The batch's row of each user of the record."""
    subject = textbook.subject
    ids = subject.dataset.user_ids or [str(n) for n in range(subject.dataset.n_users)]
    place = {ids[user]: row for row, user in enumerate(subject.batch.user_rows)}
    return [place[row["user"]] for row in record["rows"]]


def test_gradients_at_each_station_are_the_textbooks(found):
    """The textbook has a row a pair: gradients of a user's rows add up to the unique row's."""
    textbook, record = found
    p, batch, shape = textbook.params, textbook.batch, textbook.shape
    if shape.head == "cross-stitch":
        p = {**p, "head.W": reference.stitch(p["head.alpha"], p["stitch.W"])}
    of_group = batch.group if shape.batchnorm == "group" else None
    A2, tape = reference.tower(p, "user", batch.user_features, shape.tower_floor, of_group)
    V, _ = reference.tower(p, "title", batch.title_features, shape.output_floor)
    dU, dA2 = np.zeros_like(A2), np.zeros_like(A2)
    for k in range(shape.groups):
        mine = batch.group == k
        U_head = U = reference.head(p, k, A2[mine], shape)
        if shape.territory_bias:
            U = U + p["territory.b"][batch.territory[mine]]
        z = p["logit.scale"][0] * (U * V[mine]).sum(1) + p["logit.bias"][0]
        if shape.title_bias:
            z = z + batch.title_features[mine] @ p["title_bias.C"][k]
        if shape.title_bias and shape.territory_bias:
            z = z + (batch.title_features[mine] * p["territory.C"][batch.territory[mine]]).sum(1)
        _, dz = reference.binary_cross_entropy(z, batch.labels[mine], len(batch.labels))
        dU[mine] = p["logit.scale"][0] * dz[:, None] * V[mine]
        dA2[mine] = reference.head_backward(p, k, dU[mine], U_head, A2[mine], shape)[1]
    dZ2, dA1 = back(p, "2", dA2, tape)
    dZ1, _ = back(p, "1", dA1, tape)
    for row, place in zip(record["rows"], rows_of(textbook, record), strict=True):
        mine = textbook.subject.batch.pair_user == place
        for station, gradient in {"U": dU, "A2": dA2, "Z2": dZ2, "Z1": dZ1}.items():
            expected = np.linalg.norm(gradient[mine].sum(0))
            np.testing.assert_allclose(row["gradient"][station], expected, rtol=5e-4, atol=1e-8, err_msg=station)


def back(p, layer: str, dA, tape):
    """dZ of a layer of the user tower, and the gradient of its input."""
    below, Z, mean, rstd, A, floor = tape.layers[int(layer) - 1]
    dY, *sums = reference.relu_backward(dA, A, Z, mean, rstd, floor)
    if tape.group is not None:
        sums = [reference.group_sums(part, tape.group) for part in (dY * (Z - mean) * rstd, dY)]
    dZ = reference.batchnorm_backward(dY, Z, np.ones(len(Z)), mean, rstd, p[f"user.gamma{layer}"], *sums, tape.pairs)
    return dZ, reference.dense_backward(dZ, below, p[f"user.W{layer}"])[1]


def test_pairs_are_told_with_their_probability_and_its_gradient(found):
    textbook, record = found
    batch, dataset = textbook.subject.batch, textbook.subject.dataset
    B = len(batch.labels)
    for row, place in zip(record["rows"], rows_of(textbook, record), strict=True):
        mine = np.flatnonzero(batch.pair_user == place)
        assert row["pairs_in_batch"] == len(mine) and len(row["pairs"]) == min(len(mine), PAIRS)
        titles = [dataset.title_ids[t] for t in batch.title_rows[batch.pair_title[mine]]]
        for pair in row["pairs"]:
            assert pair["title"] in titles
            assert pair["dz"] == pytest.approx((pair["probability"] - pair["label"]) / B, rel=1e-4)
        assert sum(pair["label"] for pair in row["pairs"]) <= batch.labels[mine].sum()


def test_users_are_told_with_group_and_territory(found):
    textbook, record = found
    dataset, segments = textbook.subject.dataset, textbook.subject.batch.segments
    per_group = np.bincount([row["group"] for row in record["rows"]], minlength=len(segments) - 1)
    assert (per_group == np.minimum(np.diff(segments), ROWS)).all()
    for row, place in zip(record["rows"], rows_of(textbook, record), strict=True):
        assert segments[row["group"]] <= place < segments[row["group"] + 1]
        territory = dataset.user_territory[textbook.subject.batch.user_rows[place]]
        assert row["territory"] == dataset.territories.code[territory]


def test_of_many_pairs_those_that_matter_most_are_told(tiny_world):
    batch = tiny_subject(tiny_world).batch
    row = int(np.argmax(batch.user_counts))
    dz = np.linspace(-1, 1, len(batch.labels))
    start, stop = batch.pair_start[row], batch.pair_start[row + 1]
    found = pairs_of(batch, row, dz, most=2)
    kept = np.abs(dz[found]).min()
    others = np.setdiff1d(np.arange(start, stop), found)
    assert len(found) == 2 and (np.diff(found) > 0).all() and (np.abs(dz[others]) <= kept).all()

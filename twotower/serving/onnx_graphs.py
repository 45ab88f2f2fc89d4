"""A trained model as ONNX graphs, for servers without this program: towers, score, and the memory terms of a pair.

    user.onnx     user_features (n, F_u), group (n,), territory (n,)                  → user_embedding (n, D), s·U
    title.onnx    title_features (m, F_t)                                             → title_embedding (m, D), V
    memory.onnx   territory (n,), history (n, L) of titles, title (m,)                → memory (m, F)
    score.onnx    user_embedding, group, territory, title_embedding, title_features,
                  title (m,), memory (m, F)                                           → logit (m,), probability (m,)

Groups, territories and titles are numbers from 0, int64: rows of the tables exported beside the graphs, where the group
of a territory stands in the metadata. A title that the model does not know is −1, and so is what fills short histories,
which name each title once. Score and memory take one user and m titles, n = 1, or as many users as titles. All inputs
are there whatever the model: those that it has no use for do not matter.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from twotower.core.config import BATCHNORM_EPS, MEMORY_TERMS
from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.features.basis import FACTS
from twotower.data.memory.factors import SCALES
from twotower.data.memory.memory import SMALLEST_COSINE, Memory
from twotower.model.layers import BatchNormReLU
from twotower.model.tower import Tower
from twotower.model.two_tower import TwoTower

OPSET = 17  # of ai.onnx; onnxruntime 1.12 and later read it
IR_VERSION = 8  # of the file format, the one of that opset
LARGEST = 1 << 30  # bytes of arrays in a graph's own file: protobuf ends at 2 GiB, and larger ones get a file beside it

Shape = tuple[Any, ...]  # of an input or output: names of dimensions that vary, or numbers


def import_onnx() -> Any:
    """The package. Errors: InputError when it is not installed."""
    try:
        import onnx
    except ImportError:
        raise InputError("--onnx needs onnx: pip install 'twotower[onnx]'") from None
    return onnx


class Graph:
    """A graph in the making: each operation returns the name of its output, and arrays become constants."""

    def __init__(self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]):
        """Inputs and outputs with their shapes; ``group``, ``territory``, ``title`` and ``history`` are int64."""
        self.onnx = import_onnx()
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, kind: str, *operands: str | np.ndarray, out: str = "", **attributes: Any) -> str:
        """Add an operation on values and arrays."""
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        names = [operand if isinstance(operand, str) else self._constant(operand) for operand in operands]
        self.nodes.append(self.onnx.helper.make_node(kind, names, [out], **attributes))
        return out

    def _constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def save(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write ``name``.onnx, checked."""
        helper, kinds = self.onnx.helper, self.onnx.TensorProto

        def described(values: Mapping[str, Shape]) -> list[Any]:
            whole = {"group", "territory", "title", "history"}
            kind = {name: kinds.INT64 if name in whole else kinds.FLOAT for name in values}
            return [helper.make_tensor_value_info(name, kind[name], shape) for name, shape in values.items()]

        graph = helper.make_graph(
            self.nodes, self.name, described(self.inputs), described(self.outputs), self.constants
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="twotower")
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
        helper.set_model_props(model, texts)
        path = folder / f"{self.name}.onnx"
        beside = sum(len(constant.raw_data) for constant in self.constants) > LARGEST
        self.onnx.save(model, path, save_as_external_data=beside, location=f"{path.name}.data")
        self.onnx.checker.check_model(str(path), full_check=True)


class Rows(NamedTuple):
    """Inputs that select rows of tables: the group and territory of each user."""

    group: str = "group"
    territory: str = "territory"


Params = Mapping[str, np.ndarray]
HeadGraph = Callable[[Graph, Params, str, Rows], str]


def select(graph: Graph, values: str, group: str) -> str:
    """Of values (n, K, …) those of each row's group, (n, …): selected, so that no other group can leak."""
    return graph("GatherND", values, graph("Unsqueeze", group, np.array([1])), batch_dims=1)


def full_head(graph: Graph, params: Params, A: str, W: np.ndarray, residual: bool, rows: Rows) -> str:
    """U = A W_k + b_k (+ A): the products with all K matrices, of which each row keeps one."""
    K, D = params["head.b"].shape
    every = graph("MatMul", A, W.transpose(1, 0, 2).reshape(D, K * D))
    own = select(graph, graph("Reshape", every, np.array([-1, K, D])), rows.group)
    U = graph("Add", own, graph("Gather", params["head.b"], rows.group))
    return graph("Add", U, A) if residual else U


def low_rank_head(graph: Graph, params: Params, A: str, rows: Rows) -> str:
    """U = A + A P_k Q_k: the middles of all groups side by side, those of other groups set to 0."""
    P, Q = params["head.P"], params["head.Q"]
    K, D, r = P.shape
    middles = graph("Reshape", graph("MatMul", A, P.transpose(1, 0, 2).reshape(D, K * r)), np.array([-1, K, r]))
    is_own = graph("Equal", graph("Unsqueeze", rows.group, np.array([1, 2])), np.arange(K).reshape(1, K, 1))
    own = graph("Reshape", graph("Where", is_own, middles, np.zeros((), np.float32)), np.array([-1, K * r]))
    return graph("Add", A, graph("MatMul", own, Q.reshape(K * r, D)))


def expert_head(graph: Graph, params: Params, A: str, rows: Rows) -> str:
    """U = A + Σ_e g_e·A P_e Q_e with g = softmax(A G_k)."""
    K, D, E = params["head.G"].shape
    gates = graph("MatMul", A, params["head.G"].transpose(1, 0, 2).reshape(D, K * E))
    own = select(graph, graph("Reshape", gates, np.array([-1, K, E])), rows.group)
    gate = graph("Unsqueeze", graph("Softmax", own, axis=-1), np.array([2]))  # (n, E, 1)
    H = graph("Reshape", graph("MatMul", A, params["experts.P"]), np.array([0, E, -1]))
    H = graph("Reshape", graph("Mul", H, gate), np.array([0, -1]))
    return graph("Add", A, graph("MatMul", H, params["experts.Q"]))


def market_gate(graph: Graph, params: Params, A: str, rows: Rows) -> str:
    """U = A ⊙ (1 + m_c)."""
    return graph("Mul", A, graph("Gather", 1 + params["territory.m"], rows.territory))


#: How each value of ``--head`` is written as a graph.
HEADS: dict[str, HeadGraph] = {
    "none": lambda graph, params, A, rows: A,
    "plain": lambda graph, params, A, rows: full_head(graph, params, A, params["head.W"], False, rows),
    "residual": lambda graph, params, A, rows: full_head(graph, params, A, params["head.W"], True, rows),
    "cross-stitch": lambda graph, params, A, rows: full_head(
        graph, params, A, np.einsum("kj,jde->kde", params["head.alpha"], params["stitch.W"]), True, rows
    ),
    "lowrank": low_rank_head,
    "mmoe": expert_head,
    "market-gate": market_gate,
}


def check_exportable(model: TwoTower) -> None:
    """Errors: InputError for a head that has no graph."""
    if model.config.head not in HEADS:
        expected = f"expected one of {', '.join(HEADS)}"
        raise InputError(f"--onnx has no graph for --head {model.config.head}, {expected}")


def tower_graph(graph: Graph, tower: Tower, X: str, rows: Rows | None = None) -> str:
    """A2 of features X: batch-norm by its running moments, which may be those of each row's group."""
    for dense, norm in ((tower.dense1, tower.norm1), (tower.dense2, tower.norm2)):
        X = batch_norm(graph, norm, graph("MatMul", X, dense.W), rows)
    return X


def batch_norm(graph: Graph, norm: BatchNormReLU, Z: str, rows: Rows | None) -> str:
    """gamma·(Z − mean) / √(var + eps) + beta, and ReLU where there is one."""
    mean, gain = norm.running_mean, norm.gamma / np.sqrt(norm.running_var + BATCHNORM_EPS)  # (pools, D)
    if len(mean) > 1:
        assert rows is not None
        Z = graph("Mul", graph("Sub", Z, graph("Gather", mean, rows.group)), graph("Gather", gain, rows.group))
    else:
        Z = graph("Mul", graph("Sub", Z, mean), gain)
    return relu(graph, graph("Add", Z, norm.beta), norm.floor)


def relu(graph: Graph, values: str, floor: float) -> str:
    return graph("Relu", values) if floor == 0 else values


def user_graph(model: TwoTower) -> Graph:
    """From a user's features through tower and head."""
    D, config, params = model.config.hidden, model.config, model.params
    inputs = {"user_features": ("users", model.widths[0]), "group": ("users",), "territory": ("users",)}
    graph, rows = Graph("user", inputs, {"user_embedding": ("users", D)}), Rows()
    A = tower_graph(graph, model.user_tower, "user_features", rows)
    U = relu(graph, HEADS[config.head](graph, params, A, rows), config.head_floor)
    if config.territory_bias:
        U = graph("Add", U, graph("Gather", params["territory.b"], rows.territory))
    graph("Mul", U, params["logit.scale"], out="user_embedding")
    return graph


def title_graph(model: TwoTower) -> Graph:
    """From a title's features through its tower."""
    shape = {"title_features": ("titles", model.widths[1])}
    graph = Graph("title", shape, {"title_embedding": ("titles", model.config.hidden)})
    graph("Identity", tower_graph(graph, model.title_tower, "title_features"), out="title_embedding")
    return graph


def total(graph: Graph, values: str) -> str:
    """Sums of rows (n, F): (n,)."""
    return graph("ReduceSum", values, np.array([-1]), keepdims=0)


def flat_row(graph: Graph, outer: str, title: str, titles: int) -> str:
    """The row of a table (…·(T + 1), …) whose last row of each T + 1 is that of the title −1."""
    known = graph("Where", graph("Less", title, np.array(0)), np.array(titles), title)
    return graph("Add", graph("Mul", outer, np.array(titles + 1)), known)


def score_graph(model: TwoTower, titles: int) -> Graph:
    """The logit of pairs: the product, c, title biases and offsets, and memory."""
    D, params, config = model.config.hidden, model.params, model.config
    inputs: dict[str, Shape] = {name: ("users",) for name in ("group", "territory")}
    inputs |= {"user_embedding": ("users", D), "title_embedding": ("titles", D), "title": ("titles",)}
    inputs |= {"title_features": ("titles", model.widths[1]), "memory": ("titles", MEMORY_TERMS)}
    graph = Graph("score", inputs, {"logit": ("titles",), "probability": ("titles",)})
    z = total(graph, graph("Mul", "user_embedding", "title_embedding"))
    z = graph("Add", z, params["logit.bias"])
    for name, row in (("title_bias.C", "group"), ("territory.C", "territory")):
        if name in params:
            z = graph("Add", z, total(graph, graph("Mul", "title_features", graph("Gather", params[name], row))))
    if model.title_offsets is not None:
        offsets = np.pad(model.title_offsets, ((0, 0), (0, 1))).reshape(-1)  # a title −1 has none
        z = graph("Add", z, graph("Gather", offsets, flat_row(graph, "territory", "title", titles)))
    if config.memory:
        w = model.memory_weights()
        z = graph("Add", z, total(graph, graph("Mul", "memory", graph("Gather", w.linear, "group"))))
        h = graph("Relu", graph("Add", graph("MatMul", "memory", w.layer[:-1]), w.layer[-1]))
        z = graph("Add", z, total(graph, graph("Mul", h, graph("Gather", w.units, "group"))))
    graph("Identity", z, out="logit")
    graph("Sigmoid", z, out="probability")
    return graph


def memory_graph(memory: Memory) -> Graph:
    """The memory terms of pairs, from what territories and titles have and from the titles of a user's history."""
    C, T = memory.tables.shape[1:]
    inputs = {"territory": ("users",), "history": ("users", "watched"), "title": ("titles",)}
    graph = Graph("memory", inputs, {"memory": ("titles", MEMORY_TERMS)})
    tables = np.concatenate([memory.tables, memory.unwatched[:, :, None]], axis=2).reshape(-1, C * (T + 1)).T
    of_titles = graph("Gather", tables, flat_row(graph, "territory", "title", T))  # (m, F_t)

    absent = graph("Less", "history", np.array(0))
    watched = graph("Where", absent, np.array(T), "history")  # (n, L)
    count = graph("ReduceSum", graph("Cast", graph("Not", absent), to=1), np.array([1]), keepdims=1)  # (n, 1)
    users = graph("Shape", count, end=1)
    wide = graph("Expand", np.zeros((1, T + 1), np.float32), graph("Concat", users, np.array([T + 1]), axis=0))
    row = graph("Range", np.array(0), graph("Squeeze", users), np.array(1))  # (n,)
    cell = flat_row(graph, row, "title", T)  # of pairs in n rows of T + 1 titles

    def at(values: str) -> str:
        """The value (m, 1) of each pair among the users' (n, T + 1)."""
        return graph("Unsqueeze", graph("Gather", graph("Reshape", values, np.array([-1])), cell), np.array([1]))

    def flat(values: str) -> str:
        return graph("Reshape", values, np.array([0, -1]))

    # the neighbours of each title of a history have few titles, so their cosines are added up
    neighbour, cosine = padded_rows(memory.cosines)
    found, weight = (flat(graph("Gather", table, watched)) for table in (neighbour, cosine))
    cosines = at(graph("ScatterElements", wide, found, weight, axis=1, reduction="add"))
    root = graph("Sqrt", graph("Max", count, np.ones((), np.float32)))
    cosines = graph("Div", cosines, root)
    # factors of the history, added up, meet those of the title; there is a row of zeros for what is not known
    of_watched, of_scored = (np.vstack([part, np.zeros_like(part[:1])]) for part in memory.factors)
    profile = graph("Div", graph("ReduceSum", graph("Gather", of_watched, watched), np.array([1]), keepdims=0), root)
    known = graph("Where", graph("Less", "title", np.array(0)), np.array(T), "title")
    products = graph("Mul", profile, graph("Gather", of_scored, known))  # (m, R)
    leading = [graph("Slice", products, np.array([0]), np.array([scale]), np.array([1])) for scale in SCALES]
    of_factors = [graph("ReduceSum", part, np.array([1]), keepdims=1) for part in leading]

    length = graph("Log", graph("Add", count, np.ones((), np.float32)))
    log_cosine = graph("Log", graph("Add", cosines, np.array(SMALLEST_COSINE, np.float32)))
    terms = [of_titles, cosines, log_cosine, graph("Expand", length, graph("Shape", cosines)), *of_factors]
    m = graph("Sub", graph("Concat", *terms, axis=1), memory.mean)
    graph("Div", m, memory.spread, out="memory")
    return graph


def padded_rows(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Columns (T + 1, E) int64 and weights float32 of a matrix (T, T), each row filled up with the column T and 0."""
    T, length = matrix.shape[0], np.diff(matrix.indptr)
    columns = np.full((T + 1, max(1, length.max(initial=0))), T, np.int64)
    weights = np.zeros(columns.shape, np.float32)
    taken = np.arange(columns.shape[1]) < np.append(length, 0)[:, None]
    columns[taken], weights[taken] = matrix.indices, matrix.data
    return columns, weights


def feature_names(dataset: Dataset, what: str, width: int) -> list[str]:
    """Names of the columns of user or title vectors, as far as ``twotower embed`` made them."""
    if not dataset.embedding:
        return [f"{what} {i}" for i in range(width)]
    names: list[str] = []
    for part in dataset.basis_facts(FACTS)[f"{what}s"]:
        base = part["name"] if part["kind"] == "categories" else part["kind"]
        names += [f"{base} {value}" for value in part["values"] or range(part["width"])]
    return names


def write_graphs(
    folder: Path, origin: Mapping[str, Any], dataset: Dataset, model: TwoTower, territory_group: np.ndarray,
    memory: Memory | None,
) -> None:  # fmt: skip
    """Write the graphs of a model, which say what they were made of: ``origin``, and what their inputs mean.

    Errors: InputError as for ``import_onnx`` and ``check_exportable``.
    """
    check_exportable(model)
    graphs: Sequence[Graph] = [user_graph(model), title_graph(model), score_graph(model, dataset.n_titles)]
    facts: dict[str, Any] = {**origin, "opset": OPSET, "territories": dataset.territories.code}
    facts["memory_terms"] = MEMORY_TERMS
    facts["groups"] = territory_group.tolist() if model.config.groups > 1 else [0] * dataset.n_territories
    for what, width in zip(("user", "title"), model.widths, strict=True):
        facts[f"{what}_features"] = feature_names(dataset, what, width)
    for graph in [*graphs, *([memory_graph(memory)] if memory is not None else [])]:
        graph.save(folder, facts)

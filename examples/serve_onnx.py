"""The ten best titles of a user, by graphs of ``twotower export RUN --onnx --out FOLDER`` and onnxruntime alone.

    python examples/serve_onnx.py FOLDER DATASET USER

Users and titles are rows of DATASET, whose vectors and watch history stand for what a server knows of them.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

folder, data, user = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
graphs = {path.stem: InferenceSession(path) for path in folder.glob("*.onnx")}
facts = graphs["user"].get_modelmeta().custom_metadata_map
ids = [row["title"] for row in csv.DictReader((folder / "titles.csv").read_text("utf-8").splitlines())]
files = json.loads((data / "manifest.json").read_text("utf-8"))["files"]
where = {name: data / file.get("path", name) for name, file in files.items()}  # embed and group write new ones
titles, title_features = np.arange(len(ids)), np.load(where["titles.npy"]).astype(np.float32)
[V] = graphs["title"].run(None, {"title_features": title_features})  # once for all users

territory = np.load(where["user_territory.npy"])[[user]].astype(np.int64)  # (1,) row of territories.csv
group = np.array(json.loads(facts["groups"]))[territory]
place, features = {"group": group, "territory": territory}, np.load(where["users.npy"])[[user]].astype(np.float32)
[U] = graphs["user"].run(None, {"user_features": features, **place})
memory = np.zeros((len(ids), int(facts["memory_terms"])), np.float32)
if "memory" in graphs:
    users, watched = (np.load(where[f"events/history/{name}.npy"]) for name in ("user", "title"))
    history = np.unique(watched[users == user])[None].astype(np.int64)  # (1, L)
    [memory] = graphs["memory"].run(None, {"territory": territory, "history": history, "title": titles})
pairs = {"title_embedding": V, "title_features": title_features, "title": titles, "memory": memory}
logit, probability = graphs["score"].run(None, {"user_embedding": U, **place, **pairs})
for title in np.argsort(-logit, kind="stable")[:10]:
    print(ids[title], f"{logit[title]:.6f} {probability[title]:.4f}")

"""The paper to the letter collapses on a synthetic batch, beside the default (docs/explanation/maths.md, section 11).

    python -m benchmarks.collapse
"""

import numpy as np

from twotower.core.config import ModelConfig, TrainConfig
from twotower.data.batches import Batcher
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

PAIRS, SHOWN = 2048, (1, 10, 100)
MODELS = {
    "paper": {"head": "plain", "output": "relu", "learned_logit": False},
    "default": {"head": "lowrank", "title_bias": True},
}


def main() -> None:
    rng = np.random.default_rng(0)
    X_user, X_title = (rng.standard_normal((n, 32)).astype(np.float32) for n in (600, 80))
    user, title = rng.integers(0, 600, PAIRS), rng.integers(0, 80, PAIRS)
    taste = np.einsum("if,fg,ig->i", X_user[user], rng.standard_normal((32, 32)), X_title[title])
    label = (taste > np.quantile(taste, 8 / 9)).astype(np.float32)  # one pair in nine is positive
    batch = Batcher(X_user, X_title, np.arange(600) % 4, 4, PAIRS).batch(user, title, label)
    for name, settings in MODELS.items():
        network = TwoTower(ModelConfig(groups=4, **settings), 32, 32, np.random.default_rng(1), base_rate=1 / 9)
        adam = make_optimiser(network, TrainConfig())
        for step in range(1, max(SHOWN) + 1):
            loss = network.loss_and_gradients(batch).total
            adam.update(network.grads, range(4), network.threads)
            if step in SHOWN:
                z, zeros = network.pairs.z[:PAIRS], (network.U == 0).mean()
                print(f"{name}, step {step}: loss {loss:.3f}, mean z {z.mean():.1f}, zeros in U {zeros:.0%}")


if __name__ == "__main__":
    main()

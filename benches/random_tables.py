"""Tables of random make for zoo.py: of twenty families, with 200 to 8,000 rows, up to 1,000 columns and 2 to 40 clusters, each a function
of its number alone. None was chosen by how it is clustered."""

import numpy as np


def nested(rng, n, d):
    """Clouds of clouds, of two to five levels."""
    depth, fan, ratio = rng.integers(2, 6), rng.integers(2, 5), rng.uniform(0.05, 0.6)
    x, place = np.zeros((n, d)), np.zeros(n, int)
    for level in range(depth):
        place = place * fan + rng.integers(0, fan, n)
        _, place_of = np.unique(place, return_inverse=True)
        x += ratio**level * rng.normal(size=(place_of.max() + 1, d))[place_of]
    return x + ratio**depth * rng.uniform(0.05, 1) * rng.normal(size=(n, d))


def clouds(rng, n, d):
    k = rng.integers(2, 41)
    y = rng.choice(k, n, p=rng.dirichlet(np.full(k, rng.choice([0.5, 2, 50]))))
    centers = rng.normal(size=(k, d)) * rng.uniform(1, 8) / np.sqrt(max(d / 4, 1))
    spread = rng.lognormal(0, rng.choice([0, 0.5, 1.0]), size=k)
    return centers[y] + spread[y, None] * rng.uniform(0.2, 1) * rng.normal(size=(n, d))


def flats(rng, n, d):
    """Normal on subspaces of a few dimensions each."""
    k, rank = rng.integers(2, 20), rng.integers(1, min(d, 6) + 1)
    y, bases = rng.integers(0, k, n), rng.normal(size=(k, rank, d))
    centers = rng.normal(size=(k, d)) * rng.choice([0, 1, 3])
    x = centers[y] + np.einsum("ir,ird->id", rng.normal(size=(n, rank)), bases[y])
    return x + rng.uniform(0.01, 0.2) * rng.normal(size=(n, d))


def log_normal(rng, n, d):
    k = rng.integers(1, 9)
    return np.exp(rng.uniform(0.3, 2) * (2 * rng.normal(size=(k, d))[rng.integers(0, k, n)] + rng.normal(size=(n, d))))


def pareto(rng, n, d):
    return (1 + rng.pareto(rng.uniform(0.8, 4), size=(n, d))) * 10.0 ** rng.integers(-3, 4, size=d)


def words(rng, n, d):
    """Counts of words in texts of some topics, half of the time as logarithms that rare words weigh more in."""
    topics = rng.dirichlet(np.full(d, 0.05), size=rng.integers(2, 30))
    shares = 0.7 * topics[rng.integers(0, len(topics), n)] + 0.3 * rng.dirichlet(np.full(d, 0.3))
    lengths = rng.integers(5, 200, n)
    x = np.stack([rng.multinomial(length, p / p.sum()) for length, p in zip(lengths, shares)]).astype(float)
    return np.log1p(x) * np.log(n / ((x > 0).sum(0) + 1)) if rng.random() < 0.5 else x


def mixed(rng, n, d):
    """Numbers in units of their own, and categories as columns of 0 and 1."""
    k, numbers, categories, levels = rng.integers(2, 12), max(d // 2, 1), max(d // 4, 1), rng.integers(2, 8)
    y = rng.integers(0, k, n)
    x = (3 * rng.normal(size=(k, numbers))[y] + rng.normal(size=(n, numbers))) * 10.0 ** rng.uniform(-2, 5, size=numbers)
    shares = rng.dirichlet(np.full(levels, 0.3), size=(k, categories))
    chosen = (shares[y].cumsum(2) > rng.random((n, categories, 1))).argmax(2)
    return np.hstack([x, np.eye(levels)[chosen].reshape(n, -1)])


def series(rng, n, d):
    """Noisy sines, or random walks with a drift of their class."""
    d, k = max(d, 16), rng.integers(2, 10)
    y = rng.integers(0, k, n)
    if rng.random() < 0.5:
        phase = rng.random((n, 1)) if rng.random() < 0.7 else 0
        return np.sin(2 * np.pi * ((1 + y)[:, None] * np.arange(d) / d + phase)) + rng.uniform(0.1, 0.8) * rng.normal(size=(n, d))
    return np.cumsum(rng.normal(size=(n, d)) + 0.3 * rng.normal(size=(k, d))[y], 1)


def cube(rng, n, _d):
    d = rng.integers(1, 11)
    return rng.random((n, d)) * 10.0 ** rng.uniform(-1, 1, size=d)


def lattice(rng, n, _d):
    d = rng.integers(1, 4)
    side = np.arange(round(n ** (1 / d)))
    return rng.permutation(np.stack(np.meshgrid(*[side] * d), -1).reshape(-1, d).astype(float))


def bent(rng, n, d):
    """Clouds in space through a random network."""
    k = rng.integers(2, 20)
    z = 2 * rng.normal(size=(k, 3))[rng.integers(0, k, n)] + rng.uniform(0.2, 0.7) * rng.normal(size=(n, 3))
    return np.tanh(np.tanh(z @ rng.normal(size=(3, 30))) @ rng.normal(size=(30, d))) + 0.05 * rng.normal(size=(n, d))


def shells(rng, n, _d):
    d, k = rng.integers(2, 9), rng.integers(2, 6)
    direction = rng.normal(size=(n, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (1 + rng.integers(0, k, n) * rng.uniform(0.5, 2))[:, None] * (1 + 0.03 * rng.normal(size=(n, 1)))


def chain(rng, n, _d):
    """Circles, each through the next."""
    y, t = rng.integers(0, rng.integers(2, 5), n), rng.uniform(0, 2 * np.pi, n)
    flat = np.where(y % 2 == 0, 1, 0)
    x = np.stack([np.cos(t) + y, np.sin(t) * flat, np.sin(t) * (1 - flat)], 1)
    return x + rng.uniform(0.01, 0.12) * rng.normal(size=(n, 3))


def arms(rng, n, _d):
    """Spirals."""
    k, t = rng.integers(2, 7), np.sqrt(rng.random(n))
    angle = 2 * np.pi * (rng.uniform(0.5, 2) * t + rng.integers(0, k, n) / k)
    return np.stack([t * np.cos(angle), t * np.sin(angle)], 1) + 0.01 * rng.normal(size=(n, 2))


def shares(rng, n, d):
    k = rng.integers(2, 10)
    alphas = rng.dirichlet(np.full(d, 0.5), size=k) * rng.choice([5, 30, 100]) + 0.05
    return np.stack([rng.dirichlet(alphas[y]) for y in rng.integers(0, k, n)])


def repeated(rng, n, d):
    """A few different rows, many times."""
    different = rng.normal(size=(rng.integers(45, 200), d))
    return different[rng.integers(0, len(different), n)]


def curve(rng, n, d):
    t = 2 * np.pi * np.outer(rng.random(n), np.arange(1, 9))
    weights = rng.normal(size=(2, 8, d)) / np.arange(1, 9)[:, None]
    return np.cos(t) @ weights[0] + np.sin(t) @ weights[1] + 0.01 * rng.normal(size=(n, d))


def cantor(rng, n, _d):
    d, depth, ratio = rng.integers(1, 3), rng.integers(4, 9), rng.uniform(0.2, 0.45)
    return (rng.integers(0, 2, size=(n, d, depth)) * ratio ** np.arange(depth)).sum(2) + ratio**depth * rng.random((n, d))


def outliers(rng, n, d):
    x, few = clouds(rng, n, d), max(int(n * rng.uniform(0.001, 0.03)), 1)
    x[:few] += 10.0 ** rng.uniform(0.5, 4) * rng.standard_t(1.5, size=(few, d))
    return x


def walk(rng, n, d):
    return np.cumsum(rng.normal(size=(n, d)), 0)


FAMILIES = [
    nested, clouds, flats, log_normal, pareto, words, mixed, series, cube, lattice,
    bent, shells, chain, arms, shares, repeated, curve, cantor, outliers, walk,
]  # fmt: skip


def table(number):
    """The name of table `number`, its rows, and in how many clusters they are wanted."""
    rng, family = np.random.default_rng(number), FAMILIES[number % len(FAMILIES)]
    rows = int(np.exp(rng.uniform(np.log(200), np.log(8000))))
    columns = int(np.exp(rng.uniform(np.log(2), np.log(rng.choice([10, 100, 1000])))))
    clusters = int(rng.integers(2, 41 if rng.random() < 0.4 else 11))
    x = family(rng, rows, min(columns, 2_000_000 // rows)).astype(np.float32)
    return f"{family.__name__}-{number}", x, min(clusters, max(rows // 20, 2))

"""The sampler against a distribution worked out by hand, and against numpy in float64."""

from collections import Counter

import numpy as np
import pytest

from lorid_local.errors import EngineError
from lorid_local.sampler import BLOCK, Logits, Sampler

DRAWS = 4000


def logits(*weights: float) -> Logits:
    """Return logits whose probabilities are as `weights`."""
    return np.log(np.array(weights, dtype=np.float32))


def shares(values: Logits, temperature: float, top_p: float, top_k: int = 0) -> dict[int, float]:
    sampler = Sampler(temperature=temperature, top_p=top_p, seed=7, top_k=top_k)
    counts = Counter(sampler.draw(values) for _ in range(DRAWS))
    return {token: count / DRAWS for token, count in sorted(counts.items())}


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}),
        (1.0, 0.5, {2: 3 / 7, 3: 4 / 7}),
        (1.0, 0.75, {1: 2 / 9, 2: 3 / 9, 3: 4 / 9}),
        (0.5, 1.0, {0: 1 / 30, 1: 4 / 30, 2: 9 / 30, 3: 16 / 30}),
        (0.5, 0.8, {2: 9 / 25, 3: 16 / 25}),  # at T = 1 the nucleus would hold three
        (2.0, 1.0, {0: 0.163, 1: 0.230, 2: 0.282, 3: 0.325}),
        (1.0, 1e-9, {3: 1.0}),
        (1e-9, 1.0, {3: 1.0}),
    ],
)
def test_shares_are_as_worked_out_by_hand(
    temperature: float, top_p: float, expected: dict[int, float]
) -> None:
    found = shares(logits(0.1, 0.2, 0.3, 0.4), temperature, top_p)
    assert found.keys() == expected.keys()
    assert all(abs(found[t] - p) < 0.03 for t, p in expected.items())


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (1, 1.0, {3: 1.0}),
        (2, 1.0, {2: 3 / 7, 3: 4 / 7}),
        (9, 1.0, {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}),
        (3, 0.75, {2: 3 / 7, 3: 4 / 7}),  # of these three; of all four it would take three
    ],
)
def test_top_k_comes_before_the_nucleus(
    top_k: int, top_p: float, expected: dict[int, float]
) -> None:
    found = shares(logits(0.1, 0.2, 0.3, 0.4), 1.0, top_p, top_k)
    assert found.keys() == expected.keys()
    assert all(abs(found[t] - p) < 0.03 for t, p in expected.items())


@pytest.mark.parametrize("temperature", [0.3, 3.0])  # few tokens weigh something, and all do
def test_top_k_of_a_large_vocabulary_are_its_likeliest_tokens(temperature: float) -> None:
    values = np.random.default_rng(1).normal(0, 3, 5000).astype(np.float32)
    likeliest = {int(t) for t in np.argsort(-values)[:5]}
    assert shares(values, temperature, 1.0, 5).keys() == likeliest


def test_a_tokens_probability_is_that_among_all_at_temperature_1() -> None:
    sampler = Sampler(temperature=0.5, top_p=0.5, seed=1, top_k=1)
    for moved in (0.0, 200.0, -200.0):  # exp(200) is no f32
        values = logits(1, 2, 5) + np.float32(moved)
        assert [sampler.logprob(values, t) for t in range(3)] == pytest.approx(
            np.log([1 / 8, 2 / 8, 5 / 8]), abs=1e-4
        )


def test_the_nucleus_of_a_large_vocabulary_is_the_fewest_likeliest_tokens() -> None:
    values = np.random.default_rng(1).normal(0, 3, 5000).astype(np.float32)
    weights = np.exp(values.astype(np.float64))
    order = np.argsort(-weights)
    sums = np.cumsum(weights[order]) / weights.sum()
    nucleus = {int(t) for t in order[: int(np.searchsorted(sums, 0.3)) + 1]}
    assert shares(values, 1.0, 0.3).keys() == nucleus


@pytest.mark.parametrize("size", [3, BLOCK, BLOCK + 1, 5 * BLOCK - 7])
def test_without_a_nucleus_each_token_is_drawn_as_by_one_long_sum(size: int) -> None:
    values = np.random.default_rng(2).normal(0, 2, size).astype(np.float32)
    sampler, random = Sampler(temperature=1.5, top_p=1.0, seed=5), np.random.default_rng(5)
    weights = np.exp((values - values.max()) / np.float32(1.5))
    sums = weights.cumsum(dtype=np.float64)
    for _ in range(500):
        token = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
        assert sampler.draw(values) == token


def test_the_logits_are_left_as_they_are_and_may_differ_in_number() -> None:
    sampler = Sampler(temperature=0.7, top_p=0.9, seed=5)
    for size in (7, 9, 7):
        values = logits(*range(1, size + 1))
        before = values.copy()
        assert 0 <= sampler.draw(values) < size
        assert (values == before).all()


def test_temperature_0_is_greedy_and_takes_the_first_of_equals() -> None:
    sampler = Sampler(temperature=0.0, top_p=1.0, seed=1)
    assert sampler.draw(logits(0.2, 0.4, 0.4)) == 1


def test_a_seed_gives_the_same_tokens_again_and_another_gives_others() -> None:
    values = logits(*[1.0] * 50)

    def drawn(seed: int) -> list[int]:
        sampler = Sampler(temperature=1.0, top_p=0.9, seed=seed)
        return [sampler.draw(values) for _ in range(20)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(-1) == drawn(-1)


def test_a_token_of_no_weight_is_never_drawn() -> None:
    values = np.array([-np.inf, 0.0, -np.inf], dtype=np.float32)
    assert shares(values, 1.0, 1.0).keys() == {1}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_lost_are_an_error(bad: float, temperature: float) -> None:
    values = np.full(4, bad, dtype=np.float32)
    with pytest.raises(EngineError) as raised:
        Sampler(temperature=temperature, top_p=0.9, seed=1).draw(values)
    assert raised.value.message == (
        "the model computed logits that are not numbers: a file of it may be damaged"
    )
    assert raised.value.hint == (
        'rm -r "$(lorid paths cache)", which is written again, then lorid doctor'
    )

"""Token ids of examples, with the prompt masked out, in batches of similar length.

No torch: a batch is a list of encoded examples; the plan of batches depends only on the
lengths and the seed, so that a resumed run sees the batches it would have seen.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from lorid_local import prompts
from lorid_local.engine import Part
from lorid_local.prompts import Encode
from lorid_train.data import Example

BUCKET = 64  # batches' worth of examples that are sorted by length together


@dataclass(frozen=True)
class Encoded:
    """Token ids; the first `prompt_length` of them carry no loss."""

    ids: tuple[int, ...]
    prompt_length: int


def encode_prompt(parts: Iterable[Part], encode: Encode) -> list[int]:
    """Return the prompt's ids, as the engine tokenizes it."""
    return prompts.encode(parts, encode)


def encode_example(example: Example, encode: Encode, end_token: int) -> Encoded:
    """Return prompt + target + end token."""
    prompt = encode_prompt(example.prompt, encode)
    return Encoded((*prompt, *encode(example.target, False), end_token), len(prompt))


def plan(
    lengths: list[int], *, batch_tokens: int, epochs: int, budget: int, seed: int
) -> list[list[int]]:
    """Return batches of example indices: shuffled, bucketed by length, at most `batch_tokens`
    padded tokens each, until `epochs` are done or `budget` tokens (0: no limit) are used.
    """
    batches: list[list[int]] = []
    used = 0
    for epoch in range(epochs):
        for batch in _epoch(lengths, batch_tokens, random.Random(f"{seed}/{epoch}")):
            if budget and used >= budget:
                return batches
            used += sum(lengths[i] for i in batch)
            batches.append(batch)
    return batches


def _epoch(lengths: list[int], batch_tokens: int, rng: random.Random) -> list[list[int]]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    mean = max(1, sum(lengths) // len(lengths))
    span = max(1, BUCKET * batch_tokens // mean)
    batches = []
    for start in range(0, len(order), span):
        bucket = sorted(order[start : start + span], key=lambda i: lengths[i])
        batches += _cut(bucket, lengths, batch_tokens)
    rng.shuffle(batches)
    return batches


def _cut(bucket: list[int], lengths: list[int], batch_tokens: int) -> list[list[int]]:
    """Cut examples sorted by rising length into batches; the last one's length pads all."""
    batches: list[list[int]] = [[]]
    for index in bucket:
        if batches[-1] and (len(batches[-1]) + 1) * lengths[index] > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches

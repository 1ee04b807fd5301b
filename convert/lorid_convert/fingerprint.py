"""A short proof that two GGUF bases have the same shape, kept in each adapter.

It covers tensor names, shapes and the numbers that set the architecture, not the weights:
a requantized base keeps its fingerprint, and so does another fine-tune of the same base.
"""

import hashlib
import json

from lorid_local.gguf_header import Header

KEYS = (
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
)


def fingerprint(header: Header) -> str:
    """Return the hex SHA-256 over `header`'s architecture, numbers, tensor names and shapes."""
    facts = [
        header.architecture,
        [[key, header.get(key)] for key in KEYS],
        [[name, list(tensor.shape)] for name, tensor in sorted(header.tensors.items())],
    ]
    # header numbers are int, float, str or tuples of them; anything else has no stable text
    text = json.dumps(facts, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()

"""What PEFT itself computes, to hold llama.cpp against; and adapter_model.bin read by torch.

Beside sft the only module that imports torch. Reads the base from its GGUF, dequantized.
"""

import io
import pickle
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from lorid_local.errors import ModelError


def logits(base: Path, folder: Path, tokens: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the logits (tokens, vocabulary) without and with the adapter in `folder`.

    Takes 4 bytes of memory for each of the base's parameters. Raises ModelError if transformers
    cannot read the base or PEFT cannot put the adapter on it.
    """
    try:
        # transformers' own warnings and its bars of progress
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_pretrained(
                base.parent, gguf_file=base.name, dtype=torch.float32
            )
            adapted = PeftModel.from_pretrained(model, folder).float().eval()
    except (ValueError, RuntimeError, KeyError, NotImplementedError, OSError) as error:
        raise ModelError(
            f"{folder}: PEFT cannot compute it on {base}: {error}",
            hint="use --verify=on, which needs no PEFT",
        ) from error
    given = torch.tensor([list(tokens)])
    with torch.no_grad():
        on = adapted(given).logits[0].numpy()
        with adapted.disable_adapter():
            off = adapted(given).logits[0].numpy()
    return off, on


def to_safetensors(pickled: Path, target: Path) -> None:
    """Write an adapter_model.bin as safetensors; nothing in it is run (torch's weights_only).

    Raises ModelError if it holds anything but tensors.
    """
    try:
        # mapped: a tensor is in memory once at most
        table = torch.load(pickled, map_location="cpu", weights_only=True, mmap=True)
        tensors = {str(name): tensor.contiguous() for name, tensor in table.items()}
        save_file(tensors, target)
    except (pickle.UnpicklingError, RuntimeError, ValueError, AttributeError, EOFError, OSError,
            KeyError, TypeError) as error:  # fmt: skip
        raise ModelError(
            f"{pickled}: not an adapter's tensors, or damaged: {str(error).splitlines()[0]}",
            hint="load the adapter with PEFT and save it again with safe_serialization=True",
        ) from error

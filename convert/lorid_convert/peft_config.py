"""Reads adapter_config.json and says what in it a GGUF LoRA cannot express.

Read from PEFT 0.21 (LoraConfig). A key this file does not know is refused unless it is empty:
it may change what the adapter computes. Knows nothing of tensors.
"""

import json
import math
import re
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lorid_convert.files import read_small
from lorid_local.errors import ModelError, did_you_mean

FILE = "adapter_config.json"
MAX_CONFIG = 10_000_000  # bytes
MAX_PATTERNS = 5_000  # keys of one pattern; a large model has under 2,000 modules
MAX_REPEATS = 3  # of one key: each multiplies the time that matching may take by a name's length

# keys that say how the adapter was trained or found, not what it computes: which modules it has
# is read from its tensors, and fan_in_fan_out turns the base's weights alone, never A and B
WITHOUT_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core",
    "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules",
    "task_type", "velora_config",
}  # fmt: skip
READ_HERE = {
    "alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "peft_type", "r", "rank_pattern",
    "use_rslora",
}  # fmt: skip
MERGE = "merge the adapter into its base (PEFT's merge_and_unload) and convert the merged model"
# keys that must be empty, with what to do where they are not
REFUSED = {
    "alora_invocation_tokens": "an activated LoRA is not supported; train a plain LoRA",
    "arrow_config": "routing between adapters is not supported; train a plain LoRA",
    "kasa_config": f"KaSA changes the base's weights; {MERGE}",
    "layer_replication": f"the base file does not have the repeated layers; {MERGE}",
    "lora_bias": f"a GGUF LoRA holds no biases; {MERGE}, or train with false",
    "megatron_config": "parallel Megatron layers are not supported; train without them",
    "modules_to_save": f"a GGUF LoRA holds no whole layers; {MERGE}, or train with null",
    "monteclora_config": "random adapters are not supported; train a plain LoRA",
    "target_parameters": f"only linear layers are supported; {MERGE}, or use target_modules",
    "trainable_token_indices": f"a GGUF LoRA holds no token rows; {MERGE}, or train with null",
    "use_bdlora": "block-diagonal LoRA is not supported; train a plain LoRA",
    "use_dora": f"a GGUF LoRA holds no magnitude vectors; {MERGE}, or train with false",
    "use_qalora": "QALoRA pools the layer's input; train a plain LoRA",
}
_OTHER_TYPES = {"XLORA": "X-LoRA mixes its adapters token by token; convert each of them by itself"}
_ANY_OTHER_TYPE = (
    f"only LORA adapters can be converted; turn it into one (PEFT's save_as_lora), or {MERGE}"
)
# the file's alpha and the factors on B are float32: an alpha beyond these would become 0 or inf
SMALLEST, LARGEST = 1e-30, 1e30
# PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA subtract something from the base when they start
BASE_UNCHANGED = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True)
class LoraConfig:
    """What sets an adapter's ranks and scales; r is 0 where the config gives no usable one.

    Patterns map regular expressions to values. With another `peft_type` than LORA the rest is
    not read: the same keys mean other things there.
    """

    peft_type: str = "LORA"
    r: int = 0
    alpha: float = 1.0
    rslora: bool = False
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    base_name: str = ""

    def rank(self, module: str) -> int:
        """Return the rank that PEFT gives `module`, such as 'model.layers.0.self_attn.q_proj'."""
        return self.rank_pattern.get(_matching(self.rank_pattern, module), self.r)

    def scale_times_rank(self, module: str, rank: int) -> float:
        """Return what PEFT multiplies B·A by, times the rank: the alpha that llama.cpp needs.

        PEFT's scale is alpha / rank, or alpha / sqrt(rank) with use_rslora
        (peft/tuners/lora/layer.py, update_layer).
        """
        alpha = self.alpha_of(module)
        return alpha * math.sqrt(rank) if self.rslora else alpha

    def alpha_of(self, module: str) -> float:
        """Return the lora_alpha that PEFT gives `module`."""
        return self.alpha_pattern.get(_matching(self.alpha_pattern, module), self.alpha)


def read(folder: Path, problems: list[str]) -> LoraConfig:
    """Read `folder`'s config; what cannot be expressed is added to `problems`.

    Raises ModelError if there is no readable config.
    """
    table = _table(folder / FILE)
    base_name = str(table.get("base_model_name_or_path") or "")
    if table.get("peft_type") != "LORA":
        advice = _OTHER_TYPES.get(str(table.get("peft_type")), _ANY_OTHER_TYPE)
        problems.append(f"{_said(table, 'peft_type')}: {advice}")
        return LoraConfig(peft_type=str(table.get("peft_type")), base_name=base_name)
    _check_base_unchanged(table, problems)
    _check_refused(table, problems)
    _check_unknown(table, problems)
    alphas = f"0 or a number of size {SMALLEST:g} to {LARGEST:g}"
    return LoraConfig(
        r=_whole(table, "r", problems),
        alpha=_alpha(table, alphas, problems),
        rslora=_flag(table, "use_rslora", problems),
        rank_pattern=_pattern(table, "rank_pattern", _is_rank, "a whole number above 0", problems),
        alpha_pattern=_pattern(table, "alpha_pattern", _is_alpha, alphas, problems),
        base_name=base_name,
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(read_small(path, MAX_CONFIG))
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror})",
            hint="give the folder that PEFT's save_pretrained() wrote",
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}", hint="save the adapter again") from None
    if not isinstance(table, dict):
        raise ModelError(f"{path}: not a JSON object", hint="save the adapter again")
    return table


def _matching(pattern: dict[str, Any], module: str) -> str:
    """Return the first key that matches, as peft.utils.other.get_pattern_key does."""
    return next((key for key in pattern if _compiled(key).match(module)), module)


@cache
def _compiled(key: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of a '[' within a class
        return re.compile(rf"(.*\.)?({key})$")


def _check_base_unchanged(table: dict[str, Any], problems: list[str]) -> None:
    if table.get("bias", "none") != "none":
        problems.append(
            f'{_said(table, "bias")}: a GGUF LoRA holds no biases; {MERGE}, or train with "none"'
        )
    start = table.get("init_lora_weights")
    if start not in BASE_UNCHANGED:
        problems.append(
            f"{_said(table, 'init_lora_weights')}: it changed the base's weights, which the GGUF "
            "base does not have; save again with PEFT's path_initial_model_for_weight_conversion"
        )


def _check_refused(table: dict[str, Any], problems: list[str]) -> None:
    for key, advice in REFUSED.items():
        if table.get(key):
            problems.append(f"{_said(table, key)}: {advice}")


def _check_unknown(table: dict[str, Any], problems: list[str]) -> None:
    known = WITHOUT_EFFECT | READ_HERE | REFUSED.keys()
    for key, value in table.items():
        if key not in known and value:
            problems.append(
                f"{_said(table, key)}: a key lorid does not know{did_you_mean(key, known)}; "
                "remove it if it does not change what the adapter computes"
            )


def _said(table: dict[str, Any], key: str) -> str:
    text = json.dumps(table.get(key))
    return f"{key} is {text if len(text) <= 60 else text[:57] + '...'}"


def _whole(table: dict[str, Any], key: str, problems: list[str]) -> int:
    value: Any = table.get(key)
    if _is_rank(value):
        return int(value)
    problems.append(f"{_said(table, key)}: expected a whole number above 0")
    return 0


def _alpha(table: dict[str, Any], expected: str, problems: list[str]) -> float:
    value: Any = table.get("lora_alpha")
    if _is_alpha(value):
        return float(value)
    problems.append(f"{_said(table, 'lora_alpha')}: expected {expected}")
    return 1.0


def _flag(table: dict[str, Any], key: str, problems: list[str]) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool | None):
        problems.append(f"{_said(table, key)}: expected true or false")
    return bool(value)


def _pattern(
    table: dict[str, Any], key: str, fits: Any, expected: str, problems: list[str]
) -> dict[str, Any]:
    pattern = table.get(key) or {}
    if not isinstance(pattern, dict):
        problems.append(f"{_said(table, key)}: expected an object")
        return {}
    if len(pattern) > MAX_PATTERNS:
        problems.append(f"{key} has {len(pattern)} keys: expected at most {MAX_PATTERNS}")
        return {}
    usable = {}
    for module, value in pattern.items():
        if not fits(value):
            problems.append(f"{key}[{module!r}] is {json.dumps(value)}: expected {expected}")
        elif not _is_expression(module):
            problems.append(f"{key}[{module!r}]: not a regular expression")
        elif not _is_quick(module):
            problems.append(
                f"{key}[{module!r}]: a regular expression that may take for ever; expected at "
                f"most {MAX_REPEATS} repeats and none of a group"
            )
        else:
            usable[module] = value
    return usable


def _is_expression(text: str) -> bool:
    try:
        _compiled(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _is_quick(text: str) -> bool:
    """A repeat of a group, or many repeats, can take time exponential in a name's length."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text)  # no escapes, no classes
    repeats = len(re.findall(r"[*+?{]", plain.replace("(?", "(")))
    return repeats <= MAX_REPEATS and not re.search(r"\)[*+{]", plain) and len(text) <= 400


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_alpha(value: Any) -> bool:
    # comparing an int of any length is safe, turning it into a float is not
    return type(value) in (int, float) and (value == 0 or SMALLEST <= abs(value) <= LARGEST)

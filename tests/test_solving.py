"""What the flags make of a bundle's settings, without a model."""

from typing import Any

import pytest

from lorid_local import bundle as bundles
from lorid_local.engine import Role
from lorid_local.solving import Flags, Setup, settle

CONTENTS = bundles.find().contents


def settled(**flags: Any) -> Setup:
    return settle(CONTENTS, Flags(**flags))


def test_without_flags_all_is_as_the_bundle_says() -> None:
    setup = settled()
    assert setup.roles == CONTENTS.roles
    assert setup.loop == CONTENTS.loop
    assert setup.calibration == CONTENTS.calibration is not None


def test_the_calculator_can_be_left_out() -> None:
    assert CONTENTS.roles.ir.calculator and CONTENTS.roles.dr.calculator
    roles = settled(no_calculator=True).roles
    assert not any(roles.of(role).calculator for role in Role)


@pytest.mark.parametrize(
    "flags",
    [{"temperature": 1.0}, {"top_p": 0.5}, {"n_predict": 9}, {"no_adapters": True},
     {"no_calculator": True}, {"base_type": "q4_0"}],
)  # fmt: skip
def test_what_changes_the_samples_leaves_the_calibration_behind(flags: dict[str, Any]) -> None:
    assert settled(**flags).calibration is None


@pytest.mark.parametrize(
    "flags",
    [{"seed": 3}, {"timeout": 9.0}, {"threads": 1}, {"width": 1}, {"low_memory": True},
     {"base_type": CONTENTS.base_type}],
)  # fmt: skip
def test_what_changes_only_the_way_keeps_it(flags: dict[str, Any]) -> None:
    assert settled(**flags).calibration == CONTENTS.calibration

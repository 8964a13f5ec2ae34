import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.models.training_options import TrainingOptions, rate_factor


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": math.nan}, "learning_rate must be > 0"),
        ({"schedule": "linear"}, "schedule must be constant or cosine; got .*linear"),
        ({"warmup": 1.0}, r"warmup must lie in \[0, 1\)"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0"),
        ({"patience": 0}, "patience must be None or >= 1"),
        ({"better": "more"}, "better must be lower or higher"),
    ],
)
def test_refuses_options_that_nothing_can_be_trained_with(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**wrong)


@given(
    st.integers(1, 60),
    st.floats(0, 0.99, allow_subnormal=False),
    st.sampled_from(["constant", "cosine"]),
)
def test_the_rate_rises_and_then_does_not(n_steps, warmup, schedule):
    options = TrainingOptions(warmup=warmup, schedule=schedule)
    rates = np.array([rate_factor(i, n_steps, options) for i in range(n_steps)])
    peak = rates.argmax()
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    assert ((rates > 0) & (rates <= 1)).all()
    assert rates[peak] == 1


def test_cosine_after_a_linear_rise_written_out():
    options = TrainingOptions(warmup=0.2)
    rates = [rate_factor(i, 10, options) for i in range(10)]
    fall = [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]
    assert rates == pytest.approx([0.5, 1.0, *fall])

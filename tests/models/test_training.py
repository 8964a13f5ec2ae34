import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys_lib.models import training
from recsys_lib.models.training import TrainingOptions, rate_factor, train

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])


def net(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(3, 8), torch.nn.Dropout(dropout)]
        return torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))


def squared_error(model):
    return lambda i: (model(X[i]) - Y[i]).square().mean()


def weights(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def test_equals_adamw_written_out(monkeypatch):
    """Loshchilov & Hutter's algorithm 2, step by step on one weight."""
    monkeypatch.setattr(training, "_WARMUP", 0.4)
    model, start = torch.nn.Linear(1, 1, bias=False), 0.75
    torch.nn.init.constant_(model.weight, start)
    options = TrainingOptions(
        epochs=5, batch_size=9, learning_rate=0.1, weight_decay=0.3
    )
    train(model, lambda i: (3 * model.weight).sum().square(), 2, options)
    w, m, v = start, 0.0, 0.0
    for t in range(1, 6):
        rate = 0.1 * [0.5, 1, 1, 0.75, 0.25][t - 1]
        g = 18 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w -= rate * 0.3 * w
        w -= rate * m / (1 - 0.9**t) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert model.weight.item() == pytest.approx(w, rel=1e-5)


def test_biases_do_not_decay():
    model = torch.nn.Linear(1, 1)
    before = model.bias.item()
    options = TrainingOptions(epochs=9, learning_rate=0.1, weight_decay=1.0)
    train(model, lambda i: 0 * (model.weight.sum() + model.bias.sum()), 2, options)
    assert model.bias.item() == before


def test_an_epoch_takes_each_example_once_and_its_order_is_seeded():
    def batches(seed):
        model, seen = net(), []

        def loss(i):
            seen.append(i.tolist())
            return squared_error(model)(i)

        train(model, loss, 20, TrainingOptions(epochs=2, batch_size=8, seed=seed))
        return seen

    seen = batches(seed=0)
    assert [len(x) for x in seen] == [8, 8, 4] * 2
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert seen == batches(seed=0) != batches(seed=1)


def test_train_loss_is_the_mean_over_the_examples():
    model = net()
    options = TrainingOptions(epochs=1, batch_size=7, learning_rate=1e-12)
    expected = squared_error(model)(torch.arange(20)).item()
    curve = train(model, squared_error(model), 20, options)
    assert curve.train_loss == pytest.approx((expected,), rel=1e-5)
    assert curve.validation == ()
    assert curve.best_epoch == 0
    assert curve.seconds > 0


def test_the_seed_decides_and_the_callers_random_state_stays():
    def fit(seed):
        model = net(dropout=0.3)
        options = TrainingOptions(epochs=4, batch_size=6, seed=seed)
        return weights(model), train(model, squared_error(model), 20, options)

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = fit(seed=0)
    assert torch.rand(1) == expected
    again, other = fit(seed=0), fit(seed=1)
    assert torch.equal(first[0], again[0])
    assert first[1].train_loss == again[1].train_loss != other[1].train_loss


def test_dropout_is_on_in_training_and_off_in_validation():
    model, modes = net(), []

    def loss(i):
        modes.append(model.training)
        return squared_error(model)(i)

    def validate():
        modes.append(model.training)
        return 1.0

    options = TrainingOptions(epochs=2, batch_size=20)
    train(model, loss, 20, options, validate=validate)
    assert modes == [True, False] * 2
    assert not model.training


def test_the_model_gets_the_weights_of_its_best_epoch():
    model, by_epoch, values = net(), [], [3.0, 1.0, 1.0, 2.0]

    def validate():
        by_epoch.append(weights(model))
        return values[len(by_epoch) - 1]

    options = TrainingOptions(epochs=4)
    curve = train(model, squared_error(model), 20, options, validate=validate)
    assert list(curve.validation) == values
    assert curve.best_epoch == 1
    assert torch.equal(weights(model), by_epoch[1])
    assert not torch.equal(by_epoch[1], by_epoch[3])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error_with_advice(bad):
    model, steps = net(), iter([1, 1, bad])
    message = "loss must be finite; got (nan|inf) at step 2: try a lower learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        train(
            model,
            lambda i: squared_error(model)(i) * next(steps),
            20,
            TrainingOptions(epochs=3),
        )


def test_weights_and_validation_must_be_finite_too():
    model = net()
    options = TrainingOptions(epochs=1)
    with pytest.raises(FloatingPointError, match="validation value must be finite"):
        train(model, squared_error(model), 20, options, validate=lambda: math.nan)

    def spoil(i):
        value = squared_error(model)(i)
        value.register_hook(lambda g: g * math.nan)
        return value

    with pytest.raises(FloatingPointError, match="weights must be finite; got nan"):
        train(model, spoil, 20, options)


def test_no_examples_are_refused():
    model = net()
    with pytest.raises(ValueError, match="n_examples must be at least 1; got 0"):
        train(model, squared_error(model), 0, TrainingOptions())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": math.nan}, "learning_rate must be > 0"),
        ({"schedule": "linear"}, "schedule must be constant or cosine; got .*linear"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0"),
    ],
)
def test_options_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**wrong)


@given(st.integers(1, 200), st.sampled_from(["constant", "cosine"]))
def test_the_rate_rises_and_then_does_not(n_steps, schedule):
    rates = np.array([rate_factor(i, n_steps, schedule) for i in range(n_steps)])
    peak = rates.argmax()
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    assert ((rates > 0) & (rates <= 1)).all()
    assert rates[peak] == 1


def test_cosine_after_a_linear_rise_written_out():
    rates = [rate_factor(i, 20, "cosine") for i in range(20)]
    fall = [(1 + math.cos(math.pi * i / 18)) / 2 for i in range(18)]
    assert rates == pytest.approx([0.5, 1.0, *fall])

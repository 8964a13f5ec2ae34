import math
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib.models import training
from recsys_lib.models.training import LearningCurve, Progress, print_progress, train
from recsys_lib.models.training_options import TrainingOptions

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])

LAST = 18  # step of a run that is killed, in the middle of an epoch
SCRIPT = """
import sys, time
sys.path.insert(0, {folder!r})
from test_training import LAST, fit
fit({file!r}, report=lambda progress: time.sleep(3600 * (progress.step == LAST)))
"""


def net(dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(3, 8), torch.nn.Dropout(dropout)]
        return torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))


def squared_error(model):
    return lambda i: (model(X[i]) - Y[i]).square().mean()


def weights(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def fit(file=None, dropout=0.3, report=None, **options):
    model = net(dropout)
    chosen = TrainingOptions(**{"epochs": 12, "batch_size": 6} | options)
    curve = train(
        model,
        squared_error(model),
        len(X),
        chosen,
        validate=lambda: (model(X) - Y).square().mean().item(),
        report=report,
        checkpoint=file,
        checkpoint_every_s=0,
    )
    return model, curve


def test_equals_adamw_written_out():
    """Loshchilov & Hutter's algorithm 2, step by step on one weight."""
    model = torch.nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    options = TrainingOptions(
        epochs=5, batch_size=9, learning_rate=0.1, weight_decay=0.3, warmup=0.4
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


def test_same_seed_same_weights_and_the_callers_randomness_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    model, curve = fit()
    assert torch.rand(1) == expected
    again, other = fit(), fit(seed=1)
    assert torch.equal(weights(model), weights(again[0]))
    assert curve.train_loss == again[1].train_loss != other[1].train_loss


def test_dropout_is_on_in_training_and_off_in_validation():
    model, modes = net(), []

    def loss(i):
        modes.append(model.training)
        return squared_error(model)(i)

    options = TrainingOptions(epochs=1, batch_size=20)
    train(
        model,
        loss,
        20,
        options,
        validate=lambda: float(modes.append(model.training) or 1),
    )
    assert modes == [True, False]
    assert not model.training


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_stops_when_patient_for_long_and_goes_back_to_the_best_epoch(better):
    model, kept = net(), []
    values = [3.0, 1.0, 1.0, 2.0, 0.0]
    signed = values if better == "lower" else [-x for x in values]

    def validate():
        kept.append(weights(model))
        return signed[len(kept) - 1]

    options = TrainingOptions(epochs=5, patience=2, better=better)
    curve = train(model, squared_error(model), 20, options, validate=validate)
    assert list(curve.validation) == signed[:4]
    assert curve.best_epoch == 1
    assert torch.equal(weights(model), kept[1])


def test_a_killed_process_goes_on_to_the_same_bits(tmp_path):
    file = tmp_path / "run.pt"
    folder = str(Path(__file__).parent)
    script = SCRIPT.format(folder=folder, file=str(file))
    process = subprocess.Popen([sys.executable, "-c", script])
    while not (file.exists() and torch.load(file)["step"] == LAST):
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    steps = []
    resumed, curve = fit(file, report=lambda progress: steps.append(progress.step))
    model, whole = fit()
    assert steps == list(range(LAST + 1, 12 * 4 + 1))
    assert torch.equal(weights(resumed), weights(model))
    assert curve.train_loss == whole.train_loss
    assert curve.validation == whole.validation


@pytest.fixture(scope="module")
def whole():
    """The weights of a run that was not stopped."""
    return weights(fit()[0])


@settings(max_examples=settings.default.max_examples // 5)
@given(st.integers(1, 47))
def test_wherever_it_stops_it_goes_on_to_the_same_bits(tmp_path_factory, whole, last):
    file = tmp_path_factory.mktemp("run") / "run.pt"

    def stop(progress):
        if progress.step == last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(file, report=stop)
    assert torch.equal(weights(fit(file)[0]), whole)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, curve = fit(tmp_path / "run.pt", epochs=3, patience=1)
    again, same = fit(
        tmp_path / "run.pt",
        epochs=3,
        patience=1,
        report=lambda _: pytest.fail("trained"),
    )
    assert torch.equal(weights(first), weights(again))
    assert same == curve
    assert [x.name for x in tmp_path.iterdir()] == ["run.pt"]


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    fit(file, epochs=1)
    before = file.read_bytes()
    monkeypatch.setattr(training.os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training._write_whole(file, {})
    assert file.read_bytes() == before


def test_refuses_a_checkpoint_that_is_not_its_own(tmp_path):
    file = tmp_path / "run.pt"
    fit(file, epochs=1)
    with pytest.raises(ValueError, match=r"checkpoint must be of .*'epochs': 2"):
        fit(file, epochs=2)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="checkpoint must be a file of this loop"):
        fit(file, epochs=1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_it_with_advice(tmp_path, bad):
    file, model = tmp_path / "run.pt", net()

    def loss(i):
        torn = file.exists() and torch.load(file)["step"] == 2
        return squared_error(model)(i) * (bad if torn else 1)

    options = TrainingOptions(epochs=3, learning_rate=0.5)
    message = "loss must be finite; got (nan|inf) at step 2 of 3: try a learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        train(model, loss, 20, options, checkpoint=file)
    assert torch.load(file)["step"] == 2


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


def test_refuses_no_examples_and_patience_without_validation():
    model = net()
    with pytest.raises(ValueError, match="n_examples must be at least 1; got 0"):
        train(model, squared_error(model), 0, TrainingOptions())
    with pytest.raises(ValueError, match="patience must come with validate"):
        train(model, squared_error(model), 20, TrainingOptions(patience=1))


def test_progress_is_printed_at_the_end_of_an_epoch_or_after_a_while(capsys):
    report = print_progress(every_s=0)
    report(Progress(1, 9, 0.25, LearningCurve(seconds=1.2)))
    assert capsys.readouterr().out == "step 1 of 9, 1 s: loss 0.2500\n"
    fit(epochs=3, report=print_progress(every_s=1000))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[1].split(": ")[1] for line in lines] == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
    ]

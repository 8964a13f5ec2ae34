import pytest

from recsys_lib.scaling.data_parallel import Training, measure_training

SMALL = Training(dim=8, hidden=16, n_layers=2, batch=12)


@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_processes_take_the_step_of_the_whole_batch(n_processes):
    found = measure_training(SMALL, n_processes=n_processes, repeats=3)
    assert found.between_processes == 0
    assert found.from_alone < 1e-6
    assert found.n_gradients == 2 * (2 * 8 * 16 + 8 + 16)
    assert found.alone_s.shape == found.together_s.shape == (3,)
    assert (found.synchronising_s < found.together_s).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "repeats must be >= 1; got 0"),
        ({"n_processes": 5}, "must divide the batch; got 5 for 12 rows"),
        ({"n_processes": 0}, "must divide the batch; got 0"),
    ],
)
def test_what_cannot_be_shared_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measure_training(SMALL, **options)

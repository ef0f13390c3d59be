import pytest
import torch

from trainer.engine import hardware, loading
from trainer.runspec import RunSpec


@pytest.fixture(scope="module")
def model(tiny):
    return loading.load(tiny)[0]


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(loading, "device", lambda: torch.device("cpu"))


@pytest.fixture
def on_gpu(monkeypatch):
    """A GPU of 80 GB, as far as these questions go."""
    properties = type("Properties", (), {"total_memory": 80 * 10**9})
    monkeypatch.setattr(loading, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)


def _large(monkeypatch):
    monkeypatch.setattr(loading, "parameters", lambda _: 500_000_000)


def test_a_processor_computes_in_float32(on_cpu):
    assert hardware.precision(RunSpec()) == "float32"


def test_a_gpu_that_can_computes_in_bfloat16(on_gpu):
    assert hardware.precision(RunSpec()) == "bfloat16"


def test_a_gpu_that_cannot_computes_in_float32(on_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)

    assert hardware.precision(RunSpec()) == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_was_asked_for_is_taken(on_gpu, precision):
    assert hardware.precision(RunSpec(precision=precision)) == precision


def test_a_small_model_keeps_its_activations(model):
    assert not hardware.checkpoints_gradients(RunSpec(), model)


def test_a_large_model_computes_its_activations_twice(model, monkeypatch):
    _large(monkeypatch)

    assert hardware.checkpoints_gradients(RunSpec(), model)


@pytest.mark.parametrize(("asked", "done"), [("on", True), ("off", False)])
def test_gradient_checkpointing_that_was_asked_for_is_taken(model, asked, done):
    assert hardware.checkpoints_gradients(RunSpec(gradient_checkpointing=asked), model) is done


def test_a_small_model_learns_in_two_passes(on_cpu, model):
    assert hardware.passes(RunSpec(), model, 1) == 2


def test_a_larger_model_on_a_processor_takes_at_most_eight_rows_at_once(on_cpu, model, monkeypatch):
    _large(monkeypatch)

    assert hardware.passes(RunSpec(prompts_per_step=16, group_size=8), model, 1) == 16


def test_a_gpu_with_room_for_all_rows_learns_in_one_pass(on_gpu, model):
    assert hardware.passes(RunSpec(), model, 1) == 1


def test_longer_answers_take_more_passes_on_a_gpu(on_gpu, model):
    short, long = (hardware.passes(RunSpec(max_completion_tokens=n), model, 1) for n in (48, 100_000))

    assert long > short


@pytest.mark.parametrize("prompts", [1, 3, 5, 7, 16])
@pytest.mark.parametrize("group", [2, 3, 7, 8])
def test_the_passes_divide_the_rows(on_cpu, model, prompts, group):
    count = hardware.passes(RunSpec(prompts_per_step=prompts, group_size=group), model, 1)

    assert (prompts * group) % count == 0


def test_each_process_cuts_its_own_share(on_cpu, model, monkeypatch):
    _large(monkeypatch)
    recipe = RunSpec(prompts_per_step=16, group_size=8)

    assert hardware.passes(recipe, model, 4) == hardware.passes(recipe, model, 1) // 4

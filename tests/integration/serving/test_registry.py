"""Models of a process: one load per package, within a memory limit, freed after their last use."""

import gc

import pytest

from compiler.package import read_package
from serving.engine import GoldenError
from serving.limits import ModelSettings
from serving.registry import MemoryLimitError, Registry, estimate_bytes
from tests.builders import applicant, german_credit, request_struct, signed_package

KIND = request_struct(german_credit()[0])
ROW = KIND(**applicant(0))


@pytest.fixture
def packages(tmp_path):
    folders = [
        signed_package(tmp_path / "a").folder,
        signed_package(tmp_path / "b", estimator="gradient_boosting", version=2).folder,
    ]
    return [read_package(folder, expected_digest=None) for folder in folders]


def test_the_same_package_is_loaded_once(packages):
    registry = Registry()
    first = registry.load(packages[0])
    assert registry.load(packages[0]) is first
    assert registry.load(packages[1]) is not first


def test_loading_beyond_the_memory_limit_is_refused_with_the_figures(packages):
    registry = Registry(ModelSettings(memory_bytes=100_000))
    with pytest.raises(MemoryLimitError, match=r"0\.0 MiB of models are loaded.*limit is 0\.1 MiB"):
        registry.load(packages[0])
    assert registry.models() == []


def test_memory_is_reported_per_model_and_given_back_after_the_last_use(packages):
    registry = Registry()
    models = [registry.load(package) for package in packages]
    for model, package in zip(models, packages, strict=True):
        assert model.memory_bytes >= len(package.files["model.onnx"])
    assert registry.memory_bytes == sum(model.memory_bytes for model in models)
    score = models[1].bind(KIND)
    models.clear()
    del model
    gc.collect()
    assert [each.version for each in registry.models()] == [2], "a bound scorer is a use"
    assert score(ROW)[0] in ("good", "bad")
    del score
    gc.collect()
    assert registry.memory_bytes == 0


def test_limit_that_one_model_fills_takes_the_next_when_the_first_is_gone(packages):
    second = estimate_bytes(len(packages[1].files["model.onnx"]))
    tight = Registry(ModelSettings(memory_bytes=second + 1000))
    held = tight.load(packages[0])
    with pytest.raises(MemoryLimitError):
        tight.load(packages[1])
    del held
    gc.collect()
    assert tight.load(packages[1]).version == 2


def test_failed_load_changes_nothing(packages):
    registry = Registry()
    held = registry.load(packages[0])
    packages[1].files["golden.npz"] = b"damaged"
    with pytest.raises(GoldenError):
        registry.load(packages[1])
    assert registry.models() == [held]

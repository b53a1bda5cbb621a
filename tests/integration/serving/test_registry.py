"""Swapping models under callers: nobody fails, nothing half-loaded, memory is bounded."""

import asyncio

import pytest

from compiler.errors import AppError
from compiler.package import PackageError
from serving.batching.batcher import BatchSettings
from serving.registry import MemoryLimitError, Registry, RegistrySettings, UnknownModelError
from tests.builders import applicant, german_credit, request_struct, signed_package

KIND = request_struct(german_credit()[0])
ROW = KIND(**applicant(0))
BATCHED = RegistrySettings(inline_us=0.0, batching=BatchSettings(max_queue=10_000))


@pytest.fixture
def packages(tmp_path):
    return [
        signed_package(tmp_path / "a"),
        signed_package(tmp_path / "b", estimator="gradient_boosting", version=2),
    ]


@pytest.mark.parametrize("settings", [RegistrySettings(), BATCHED], ids=["inline", "batched"])
async def test_swaps_under_load_fail_no_call_and_mix_no_answer(packages, settings):
    registry = Registry(trust=packages[0].trust, settings=settings)
    answers = {}
    for package in packages:
        serving = await registry.swap("credit", package.folder)
        answers[serving.model.digest] = await serving.score(ROW)
    seen = set()
    stop = asyncio.Event()

    async def caller():
        while not stop.is_set():
            serving = registry.get("credit")
            answer = await serving.score(ROW)
            assert answer == answers[serving.model.digest]
            seen.add(serving.model.digest)
            await asyncio.sleep(0)

    callers = [asyncio.create_task(caller()) for _ in range(4)]
    for turn in range(6):
        await registry.swap("credit", packages[turn % 2].folder)
        for _ in range(10):  # let callers run on what serves now
            await asyncio.sleep(0)
    stop.set()
    await asyncio.gather(*callers)
    await registry.close()
    assert seen == set(answers)


async def test_failed_load_leaves_the_old_model_serving(packages):
    registry = Registry(trust=packages[0].trust)
    await registry.swap("credit", packages[0].folder)
    (packages[1].folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(PackageError):
        await registry.swap("credit", packages[1].folder)
    serving = registry.get("credit")
    assert serving.model.digest == packages[0].digest
    assert (await serving.score(ROW))[0] in ("good", "bad")
    await registry.close()


async def test_loading_beyond_the_memory_limit_is_refused_with_the_figures(packages):
    registry = Registry(settings=RegistrySettings(memory_bytes=100_000))
    with pytest.raises(MemoryLimitError, match="the limit is 100000"):
        await registry.swap("credit", packages[0].folder)
    assert registry.memory() == {}


async def test_memory_is_reported_per_model(packages):
    registry = Registry()
    await registry.swap("credit", packages[0].folder)
    size = (packages[0].folder / "model.onnx").stat().st_size
    assert registry.memory()["credit"] >= size
    assert registry.memory_bytes == registry.memory()["credit"]
    await registry.close()


async def test_unsigned_package_is_refused_when_trust_is_required(packages):
    (packages[0].folder / "signatures" / "builder.dsse.json").unlink()
    registry = Registry(trust=packages[0].trust)
    with pytest.raises(AppError, match="not signed"):
        await registry.swap("credit", packages[0].folder)


async def test_removed_model_is_unknown(packages):
    registry = Registry()
    await registry.swap("credit", packages[0].folder)
    await registry.remove("credit")
    with pytest.raises(UnknownModelError, match="credit"):
        registry.get("credit")

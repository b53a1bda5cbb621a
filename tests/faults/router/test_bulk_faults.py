"""A bulk job under SIGKILL, a full disk and a store that stalls: nothing is ever half-written."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest

from router.bulk.manifest import encode_line
from router.bulk.places import LocalInputs, LocalOutput
from router.bulk.verify import check_parts, status
from router.bulk.watch import pin
from tests import bulk_world, router_world
from tests.bulk_world import parts, write

ROWS = 4000


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bulk")
    router_world.publish(folder)
    return folder


@pytest.fixture(scope="module")
def source(home):
    path = write(home / "rows.parquet", bulk_world.rows(ROWS), row_group_size=300)
    endpoint, _ = pin(router_world.settings_for(home), "credit")
    job = bulk_world.job_of(endpoint, LocalInputs(str(path)), unit_rows=40)
    path.with_suffix(".job").write_bytes(encode_line(job))
    return path


def start(home, source, out, *more):
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bulk_process", str(home), str(source), str(out), *more],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "begun\n"
    return child


@pytest.fixture(scope="module")
def whole(home, source):
    """An uninterrupted run, and how long its work takes."""
    child = start(home, source, home / "whole")
    began = time.monotonic()
    assert child.communicate()[0] == "done\n"
    return parts(home / "whole"), time.monotonic() - began


def killed_until_done(home, source, out, whole, seed, kills):
    """Kill the job at random moments, then let it end; how many kills met it at work."""
    expected, took = whole
    drawn = random.Random(seed)
    met = 0
    for _ in range(kills):
        child = start(home, source, out)
        try:
            child.wait(drawn.uniform(0, took / 2))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            met += 1
        child.communicate()
        for name, data in parts(out).items():  # whatever is visible is whole
            assert data == expected[name]
    child = start(home, source, out)
    assert child.communicate()[0] == "done\n"
    return met


@pytest.mark.parametrize(("kills", "seed"), [(4, 1), pytest.param(100, 2, marks=pytest.mark.slow)])
def test_job_killed_at_random_moments_and_resumed_equals_one_that_was_not(
    home, source, whole, tmp_path, kills, seed
):
    assert killed_until_done(home, source, tmp_path / "out", whole, seed, kills) > 0
    assert parts(tmp_path / "out") == whole[0]
    for name in ("_manifest.jsonl", "_SUCCESS"):
        assert (tmp_path / "out" / name).read_bytes() == (home / "whole" / name).read_bytes()
    assert check_parts(LocalOutput(tmp_path / "out")) == []


def test_full_disk_stops_the_job_by_name_and_leaves_only_whole_parts(home, source, whole, tmp_path):
    out = tmp_path / "out"
    child = start(home, source, out, "2048")
    said = child.communicate()[0]
    assert child.returncode == 1
    assert said.startswith(("bulk.output: cannot write a part", "audit.full"))
    found = parts(out)
    assert 0 < len(found) < len(whole[0])
    assert all(data == whole[0][name] for name, data in found.items())
    assert not list((out / ".draft").glob("shard*"))
    assert not status(LocalOutput(out)).complete
    child = start(home, source, out)
    assert child.communicate()[0] == "done\n"
    assert parts(out) == whole[0]

"""``interlock bulk`` as a person uses it on a node without any database."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys

import msgspec
import pytest

from router.bulk.errors import BulkError, StoppedError
from router.bulk.watch import Watch, pin
from router.release.disk import read_snapshot, save
from tests import bulk_world, router_world


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    router_world.publish(folder)
    return folder


@pytest.fixture(scope="module")
def source(home):
    return bulk_world.write(home / "loans" / "a.csv", bulk_world.rows(3000))


def environment(home):
    return {
        "PATH": "/usr/bin:/bin", "INTERLOCK_HOME": str(home), "HOME": str(home),
        "INTERLOCK_ROOT_KEY": router_world.root_key(), "INTERLOCK_NODE": "test",
        "INTERLOCK_PORT": "9",
    }  # fmt: skip


def command(home, *words):
    return subprocess.run(
        [sys.executable, "-m", "interlock", "bulk", *map(str, words)],
        env=environment(home), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_run_status_verify_and_a_damaged_part(home, source, tmp_path):
    out = tmp_path / "scored"
    done = command(home, "run", source.parent, "--endpoint", "credit", "--out", out,
                   "--keys", "case", "--format", "ndjson", "--unit-rows", 1000)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "credit release 7" in done.stderr
    assert "3,000 rows" in done.stdout
    first = msgspec.json.decode((out / "part-00000-00000.ndjson").read_bytes().splitlines()[0])
    assert (first["case"], set(first["outputs"])) == ("c0", {"label", "probability"}) or first[
        "decision"
    ] == "reject"
    said = msgspec.json.decode(command(home, "status", out, "--json").stdout)
    assert (said["rows"], said["parts"], said["complete"]) == (3000, 3, True)
    verified = command(home, "verify", out)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    part = out / "part-00000-00001.ndjson"
    part.write_bytes(part.read_bytes().replace(b'"decision":"', b'"decision":"x', 1))
    wrong = command(home, "verify", out)
    assert (wrong.returncode, wrong.stdout.startswith("wrong: part-00000-00001")) == (1, True)


def test_shares_at_work_at_the_same_time_make_one_result(home, source, tmp_path):
    out = tmp_path / "scored"
    shares = [
        subprocess.Popen(
            [sys.executable, "-m", "interlock", "bulk", "run", str(source), "--endpoint", "credit",
             "--out", str(out), "--unit-rows", "200", "--shard", f"{share}/3", "--json"],
            env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for share in (1, 2, 3)
    ]  # fmt: skip
    said = [share.communicate(timeout=60) for share in shares]
    assert [share.returncode for share in shares] == [0, 0, 0], said
    assert sum(msgspec.json.decode(done)["rows"] for done, _ in said) == 3000
    found = msgspec.json.decode(command(home, "status", out, "--json").stdout)
    assert (found["rows"], found["parts"], found["complete"]) == (3000, 15, True)
    lines = [
        line for path in sorted(out.glob("part-*.csv")) for line in path.read_text().splitlines()
    ]
    rows = [line.split(",")[0] for line in lines if not line.startswith('"row"')]
    assert rows == [str(number) for number in range(3000)]
    assert command(home, "verify", out).returncode == 0


def test_interrupted_run_exits_130_with_the_line_that_goes_on(home, source, tmp_path):
    words = ["run", str(source), "--endpoint", "credit", "--out", str(tmp_path / "out"),
             "--unit-rows", "20", "--batch-rows", "5"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "interlock", "bulk", *words],
        env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        for line in child.stderr:
            if "rows" in line and "/s" in line:  # the first unit is done
                child.send_signal(signal.SIGINT)
                break
        rest = child.stderr.read()
    assert child.returncode == 130, rest
    again = shlex.split(next(line for line in rest.splitlines() if "--resume" in line))
    assert again[:3] == ["interlock", "bulk", "run"]
    done = command(home, *again[2:], "--json")
    assert done.returncode == 0, done.stderr
    said = msgspec.json.decode(done.stdout)
    assert said["complete"]
    assert 0 < said["skipped"] < 3000
    assert said["rows"] + said["skipped"] == 3000


def test_strict_run_stops_and_says_how_to_go_on(home, tmp_path):
    given = bulk_world.rows(100)
    given[77]["credit_amount"] = None
    source = bulk_world.write(tmp_path / "in.parquet", given)
    done = command(home, "run", source, "--endpoint", "credit", "--out", tmp_path / "out",
                   "--strict", "--unit-rows", "50")  # fmt: skip
    assert done.returncode == 1
    assert "bulk.bad_rows: 1 rows carry errors, expected at most 0" in done.stderr
    assert "--resume" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--endpoint", "nobody"), "there are: credit"),
        (("--endpoint", "credit", "--keys", "row"), "bulk.key"),
        (("--endpoint", "credit", "--keys", "absent"), "expected a key column 'absent'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(home, source, tmp_path, words, said):
    done = command(home, "run", source, *words, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


class TestPinnedRelease:
    @pytest.fixture
    def settings(self, tmp_path):
        router_world.publish(tmp_path)
        return router_world.settings_for(tmp_path)

    def publish(self, settings, *, suspended=False, gone=False):
        snapshot = read_snapshot(settings.cache_dir)
        (release,) = snapshot.releases
        release = msgspec.structs.replace(release, suspended=suspended)
        releases = () if gone else (release,)
        save(settings.cache_dir, msgspec.structs.replace(snapshot, releases=releases))

    def test_suspended_endpoint_is_not_begun(self, settings):
        self.publish(settings, suspended=True)
        with pytest.raises(StoppedError) as caught:
            pin(settings, "credit")
        assert caught.value.code == "bulk.suspended"

    @pytest.mark.parametrize(
        ("change", "code"),
        [({"suspended": True}, "bulk.suspended"), ({"gone": True}, "bulk.terminated")],
    )
    def test_suspension_or_end_of_the_release_stops_a_job(self, settings, change, code):
        watch = Watch(settings, pin(settings, "credit")[0])
        watch.check()
        self.publish(settings, **change)
        watch.check()  # within a second of the last look
        watch = Watch(settings, watch._endpoint)
        with pytest.raises(StoppedError) as caught:
            watch.check()
        assert caught.value.code == code

    def test_release_that_does_not_check_out_is_refused_like_by_a_router(self, settings):
        snapshot = read_snapshot(settings.cache_dir)
        (release,) = snapshot.releases
        changed = msgspec.structs.replace(release, digest="sha256:" + "0" * 64)
        save(settings.cache_dir, msgspec.structs.replace(snapshot, releases=(changed,)))
        with pytest.raises(BulkError) as caught:
            pin(settings, "credit")
        assert caught.value.code == "release.digest"

    def test_node_without_a_release_says_where_it_looked(self, tmp_path):
        with pytest.raises(BulkError) as caught:
            pin(router_world.settings_for(tmp_path), "credit")
        assert caught.value.code == "bulk.no_release"

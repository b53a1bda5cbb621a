import os
import signal
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from interlock.commands.loadtest import loadtest
from loadtest.processes import null_server
from loadtest.record import create, open_records


def call(*args):
    return CliRunner().invoke(loadtest, [*args])


@pytest.fixture(scope="module")
def url():
    with null_server() as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_report_shows_corrected_and_uncorrected_with_bounds(url, tmp_path):
    result = call(
        "run", "--url", url, "--body", "{}", "--rate", "200", "--duration", "500ms", "--warmup",
        "0s", "--out", str(tmp_path), "--home", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code in {0, 3}, result.output
    for part in ("corrected", "uncorrected", "need 66,381 samples", "offered", "LOCAL"):
        assert part in result.output
    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    assert summary["format"] == "interlock/loadtest/v1"
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "records.npz").exists()


def test_machine_output_is_the_summary_alone(url, tmp_path):
    result = call(
        "run", "--url", url, "--body", "{}", "--rate", "100", "--duration", "300ms", "--warmup",
        "0s", "--json", "--home", str(tmp_path),
    )  # fmt: skip
    assert msgspec.json.decode(result.stdout)["figures"]["requests"] > 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--url", "http://127.0.0.1:1"], "cannot reach 127.0.0.1:1"),
        (["--url", "http://192.0.2.1"], "--i-own-this-target"),
        (["--threshold", "p99~5"], "expected FIGURE OP NUMBER"),
        (["--rate", "0"], "more than 0 requests/s"),
        (["--cpus", "one"], "expected cores"),
        (["--profile", "ramp"], "second rate of a ramp"),
        (["--endpoint", "credit=-1"], "NAME=WEIGHT"),
        (["--closed", "--profile", "spike", "--to", "5"], "no schedule"),
        (["--profile", "soak"], "at least 600 s"),
    ],
)
def test_bad_input_ends_with_2_and_its_message(url, tmp_path, args, said):
    given = args if "--url" in args else ["--url", url, *args]
    result = call("run", "--body", "{}", "--home", str(tmp_path), *given)
    assert result.exit_code == 2
    assert said in result.output


def test_payload_that_is_no_json_is_told_with_its_line(url, tmp_path):
    file = tmp_path / "rows.ndjson"
    file.write_text('{"a": 1}\n{"a": \n')
    result = call("run", "--url", url, "--payload", str(file))
    assert result.exit_code == 2
    assert f"{file}:2" in result.output


def test_trace_going_backwards_is_refused(url, tmp_path):
    file = tmp_path / "trace"
    file.write_text("0\n2\n1\n")
    result = call("run", "--url", url, "--body", "{}", "--trace", str(file))
    assert result.exit_code == 2
    assert "times go backwards" in result.output


def test_without_any_payload_the_ways_to_give_one_are_told(url, tmp_path):
    result = call("run", "--url", url, "--home", str(tmp_path))
    assert result.exit_code == 2
    assert "--schema FILE" in result.output


def test_control_c_keeps_partial_results(url, tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-m", "interlock", "loadtest", "run", "--url", url, "--body", "{}",
         "--rate", "200", "--duration", "5m", "--warmup", "0s", "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "INTERLOCK_HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        wait_for_answers(tmp_path, 200 * 300, child)
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert child.returncode == 130, output
    assert "INTERRUPTED" in output
    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    assert summary["figures"]["outcomes"]["good"] >= 10


def wait_for_answers(folder, at_least, child):
    """Return once the run has ten answers; its record file is the event."""
    while child.poll() is None:
        for file in folder.glob("interlock-loadtest-*/records-0"):
            if file.stat().st_size < at_least:
                continue
            size = file.stat().st_size // 47
            if (open_records(file, size).outcome == 1).sum() >= 10:
                return


def test_record_file_is_sparse_and_maps_back(tmp_path):
    create(tmp_path / "r", 1000)
    records = open_records(tmp_path / "r", 1000)
    records.scheduled[:] = range(1000)
    assert open_records(tmp_path / "r", 1000).scheduled[999] == 999


def test_knee_that_lies_beyond_is_told_with_its_curve(url, tmp_path):
    result = call(
        "knee", "--url", url, "--body", "{}", "--start", "100", "--most", "200", "--probe", "300ms",
        "--confirm", "300ms", "--warmup", "0s", "--slo", "err<1%", "--out", str(tmp_path),
        "--home", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 5, result.output
    assert "the knee lies beyond" in result.output
    assert "nothing gave out" in result.output
    knee = msgspec.json.decode((tmp_path / "knee.json").read_bytes())
    assert [round(probe["rate"]) for probe in knee["probes"]] == [100, 200]
    assert (tmp_path / "knee.png").read_bytes().startswith(b"\x89PNG")
    planned = call("plan", "--rate", "1000", "--knee", str(tmp_path))
    assert planned.exit_code == 0
    assert "extrapolated" in planned.output
    assert "LOCAL" in planned.output


def test_knee_needs_to_know_what_should_hold(url, tmp_path):
    result = call("knee", "--url", url, "--body", "{}", "--home", str(tmp_path))
    assert result.exit_code == 2
    assert "what should hold" in result.output


def test_two_targets_are_compared_in_turn(url, tmp_path):
    result = call(
        "compare", "--url", url, "--against", url, "--body", "{}", "--rate", "200", "--duration",
        "300ms", "--warmup", "0s", "--runs", "1", "--home", str(tmp_path), "--json",
    )  # fmt: skip
    found = msgspec.json.decode(result.stdout)
    assert (found["runs_a"], found["runs_b"]) == (1, 1)
    assert found["verdict"] == "inconclusive"  # one run is never enough
    assert result.exit_code == 5


def test_stored_runs_are_compared_and_folders_without_runs_refused(url, tmp_path):
    for side in ("a", "b"):
        call(
            "run", "--url", url, "--body", "{}", "--rate", "200", "--duration", "300ms",
            "--warmup", "0s", "--out", str(tmp_path / side / "1"), "--home", str(tmp_path),
        )  # fmt: skip
    assert call("compare", str(tmp_path / "a"), str(tmp_path / "b")).exit_code == 5
    (tmp_path / "empty").mkdir()
    refused = call("compare", str(tmp_path / "a"), str(tmp_path / "empty"))
    assert refused.exit_code == 2
    assert "got none" in refused.output


def test_early_end_of_a_failing_run_is_99(url, tmp_path):
    result = call(
        "run", "--url", url, "--body", "{}", "--rate", "3000", "--duration", "5m", "--warmup",
        "0s", "--slo", "p50<1us", "--abort-on-fail", "--abort-delay", "100ms", "--home",
        str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 99, result.output
    assert "ended early: p50<1us had failed" in result.output


def test_audit_records_are_sent_again_in_their_order_with_their_spacing(url, tmp_path):
    moments = (0.0, 0.05, 0.25, 0.3)
    file = tmp_path / "audit.ndjson"
    file.write_text(
        "".join(
            f'{{"received_ns": {10**18 + round(at * 1e9)}, "features": {{"n": {n}}}}}\n'
            for n, at in enumerate(moments)
        )
    )
    result = call(
        "run", "--url", url, "--replay", str(file), "--out", str(tmp_path), "--home",
        str(tmp_path), "--processes", "2",
    )  # fmt: skip
    assert "trace arrivals" in result.output
    with np.load(tmp_path / "records.npz") as records:
        offsets = (records["scheduled"] - records["start_ns"]) / 1e9
        assert offsets == pytest.approx(moments, abs=1e-6)
        assert records["choice"].tolist() == [0, 1, 2, 3]


def test_mix_of_endpoints_follows_its_weights_and_is_told_apart(url, tmp_path):
    call(
        "run", "--url", url, "--body", "{}", "--endpoint", "big=3", "--endpoint", "small=1",
        "--rate", "600", "--duration", "500ms", "--warmup", "0s", "--out", str(tmp_path),
        "--home", str(tmp_path), "--slo", "err{endpoint=small}<1%",
    )  # fmt: skip
    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes())
    counts = {name: figures["requests"] for name, figures in summary["endpoints"].items()}
    assert counts["big"] + counts["small"] == summary["figures"]["requests"]
    assert 2 < counts["big"] / counts["small"] < 4.5
    assert summary["thresholds"][0]["verdict"] == "pass"

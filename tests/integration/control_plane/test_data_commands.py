"""A data scientist's day by ``interlock`` commands, against a real application and worker."""

from __future__ import annotations

import asyncio
import threading
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from compiler.signing import KeyPair
from control_plane.app import build_app
from control_plane.jobs.worker import Worker
from control_plane.settings import WorkerSettings
from interlock.cli import cli

PASSWORD = "a long sentence nobody guesses"
CSV = str(files("interlock") / "data" / "german_credit.csv")


class Wire:
    """The application as the commands reach it; it stays open when a command closes its client."""

    def __init__(self, client: TestClient) -> None:
        self.request = client.request

    def close(self) -> None:
        pass


@pytest.fixture
def people(control_settings, monkeypatch, tmp_path):
    """Tokens of three people of a running control plane, which the commands then find."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("interlock.follow.EVERY_S", 0.05)
    with TestClient(build_app(control_settings)) as client:
        monkeypatch.setattr("interlock.remote.httpx.Client", lambda **_: Wire(client))

        def call(path, body, token=""):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = client.post("/api" + path, json=body, headers=headers)
            assert answer.status_code < 300, answer.text
            return answer.json()

        def login(email):
            return call("/login", {"email": email, "password": PASSWORD})["token"]

        admin = {"name": "Ada", "email": "ada@bank.example", "password": PASSWORD}
        call("/bootstrap", admin | {"token": "open sesame"})
        root = login("ada@bank.example")
        tokens = {}
        for email, role in (("dan", "data_scientist"), ("cora", "compliance_manager")):
            person = {"name": email, "email": f"{email}@bank.example", "role": role}
            call("/users", person | {"password": PASSWORD}, root)
            tokens[email] = login(f"{email}@bank.example")
        yield tokens


@pytest.fixture
def worker(control_settings, role_url):
    """A job worker on an event loop of its own."""
    home = control_settings.home
    KeyPair.generate().save(home / "builder.key")
    settings = WorkerSettings(
        role_url("interlock_worker"), control_settings.artifact_store, home, home / "builder.key",
        poll_s=0.2,
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    made = Worker(settings, slots=1)
    thread = threading.Thread(target=loop.run_until_complete, args=(made.run(),))
    thread.start()
    yield
    loop.call_soon_threadsafe(made.stop)
    thread.join(20)
    loop.close()


@pytest.fixture
def type_in(people):
    """Type a command as somebody; its output, after checking the exit status."""

    def run(person, *words, status=0):
        env = {"INTERLOCK_TOKEN": people[person]}
        result = CliRunner(env=env).invoke(cli, [*words], catch_exceptions=True)
        assert result.exit_code == status, (result.output, result.exception)
        return result

    return run


def declared(type_in):
    type_in(
        "dan", "datasets", "add", "loans", "--target", "creditability", "--positive", "bad",
        "--favourable", "good", "--protected", "age_in_years", "--source", "UCI",
        "--licence", "CC BY 4.0",
    )  # fmt: skip
    return type_in("dan", "datasets", "upload", "loans", CSV)


def test_declare_upload_and_look(type_in):
    assert "1000" in declared(type_in).stdout
    shown = type_in("dan", "datasets", "show", "loans").stdout
    assert "credit_amount" in shown
    assert "250 to 18424" in shown
    assert "german" not in type_in("dan", "datasets", "list").stdout


def test_train_validate_fill_and_score(type_in, worker, tmp_path):
    declared(type_in)
    trained = type_in("dan", "train", "loans", "quick", "--search", "decision_tree",
                      "--trials", "2", "--folds", "2", "--json")  # fmt: skip
    run = msgspec.json.decode(trained.stdout)
    assert run["state"] == "succeeded"
    assert "decision_tree" in type_in("dan", "runs", "trials", run["id"]).stdout
    assert "roc_auc" in type_in("dan", "runs", "show", run["id"]).stdout
    assert "quick" in type_in("dan", "runs", "list").stdout
    out = tmp_path / "reports"
    done = type_in("dan", "validate", "quick@1", "--out", str(out))
    assert "validation of quick@1: 100%" in done.stderr
    assert "<svg" in (out / "page.html").read_text()
    assert {path.name for path in out.iterdir()} == {
        "page.html", "predictions.json", "fairness.json", "drift.json", "explanations.json",
    }  # fmt: skip
    type_in("cora", "compliance", "profile", "quick", "credit_us")
    filled = type_in("dan", "compliance", "fill", "quick@1", "--answer", "S2.decision=small loans")
    assert "evidence completeness" in filled.stdout
    type_in("cora", "compliance", "review", "quick@1", "S2.decision")
    assert "small loans" in type_in("dan", "compliance", "show", "quick@1").stdout
    assert "fail" in type_in("dan", "compliance", "score", "quick@1", status=1).stdout
    jobs = type_in("dan", "jobs", "list", "--json").stdout.splitlines()
    kinds = [msgspec.json.decode(line)["kind"] for line in jobs]
    assert kinds == ["validate", "train"]
    job = msgspec.json.decode(jobs[1])["id"]
    assert "rows to train" in type_in("dan", "jobs", "show", job).stdout


def test_refusals_are_worded_on_one_screen(type_in, tmp_path):
    result = type_in("dan", "datasets", "upload", "nothing", CSV, status=1)
    assert "dataset.unknown" in str(result.exception or result.stderr)
    other = tmp_path / "table.xlsx"
    other.write_bytes(b"x")
    result = type_in("dan", "datasets", "upload", "nothing", str(other), status=1)
    assert ".csv or .parquet" in str(result.exception or result.stderr)
    assert Path(CSV).exists()

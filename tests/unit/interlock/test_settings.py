"""The environment: read once, checked, complete in its table."""

import inspect
import re
from pathlib import Path

import pytest

from interlock import settings, variables
from interlock.settings import SettingsError, read_environment
from interlock.variables import VARIABLES


def test_every_variable_that_the_code_reads_is_in_the_table():
    """And the table names no other."""
    root = Path(settings.__file__).parents[1]
    packages = ("interlock", "control_plane", "loadtest", "router", "serving", "compiler")
    source = "".join(
        path.read_text("utf-8") for package in packages for path in (root / package).rglob("*.py")
    )
    table = inspect.getsource(variables)
    words = re.compile(r'"(INTERLOCK_[A-Z_]+|DATABASE_URL|REDIS_URL|ARTIFACT_STORE)"')
    read = set(words.findall(source.replace(table, "")))
    assert read == {variable.name for variable in VARIABLES}


def test_empty_environment_gives_the_documented_defaults(open_folder):
    env = read_environment({"INTERLOCK_HOME": str(open_folder)})
    assert (env.bind, env.port, env.control_port, env.fastlane) == ("127.0.0.1", 8080, 8081, True)
    assert env.artifact_store == str(open_folder / "artifacts")
    assert env.root_key == str(open_folder / "secrets" / "root.pub")
    assert env.database_url is None


def test_empty_text_counts_as_not_set(open_folder):
    env = read_environment({"INTERLOCK_HOME": str(open_folder), "INTERLOCK_PORT": ""})
    assert env.port == 8080


def test_option_goes_before_the_environment(open_folder):
    env = read_environment({"INTERLOCK_HOME": "/nowhere"}, home=open_folder)
    assert env.home.path == open_folder


@pytest.mark.parametrize("text", ["x", "0", "70000", "-1", "8 0", "8080.0", "\u0663"])
def test_port_that_is_none_is_refused_with_its_variable(text, open_folder):
    with pytest.raises(SettingsError, match="from 1 to 65535") as error:
        read_environment({"INTERLOCK_HOME": str(open_folder), "INTERLOCK_PORT": text})
    assert error.value.at == "INTERLOCK_PORT"


def test_flag_takes_only_zero_and_one(open_folder):
    with pytest.raises(SettingsError, match="expected 0 or 1"):
        read_environment({"INTERLOCK_HOME": str(open_folder), "INTERLOCK_FASTLANE": "no"})


def test_process_without_database_says_what_to_do(open_folder):
    env = read_environment({"INTERLOCK_HOME": str(open_folder)}, role="control")
    with pytest.raises(SettingsError) as error:
        env.need_database()
    assert "DATABASE_URL" in error.value.hint
    assert "--home" in error.value.hint


def test_key_file_that_is_named_but_missing_is_refused(open_folder):
    with pytest.raises(SettingsError, match="there is no file /nowhere/subject") as error:
        read_environment(
            {"INTERLOCK_HOME": str(open_folder), "INTERLOCK_SUBJECT_KEY": "/nowhere/subject"}
        )
    assert error.value.at == "INTERLOCK_SUBJECT_KEY"


def test_every_settings_struct_is_built_from_the_environment(open_folder):
    env = read_environment(
        {"INTERLOCK_HOME": str(open_folder), "DATABASE_URL": "postgresql://h/d", "REDIS_URL": "r"}
    )
    router, control = settings.router_settings(env), settings.control_settings(env)
    worker, shipper = settings.worker_settings(env), settings.shipper_settings(env)
    explainer = settings.explainer_settings(env)
    every = (router, control, worker, shipper, explainer)
    assert {each.database_url for each in every} == {"postgresql://h/d"}
    assert {each.artifact_store for each in every} == {str(open_folder / "artifacts")}
    assert {router.redis_url, control.redis_url, worker.redis_url} == {"r"}
    assert router.spool_dir == shipper.spool_dir == open_folder / "spool"
    assert (router.node, shipper.node) == (env.node, env.node)


def test_tls_files_reach_both_ports(open_folder):
    names = ("CERTIFICATE", "KEY", "CLIENT_CA")
    files = {f"INTERLOCK_TLS_{name}": f"/tls/{name.lower()}.pem" for name in names}
    env = read_environment(
        {"INTERLOCK_HOME": str(open_folder), "DATABASE_URL": "postgresql://h/d"} | files
    )
    router, control = settings.router_settings(env), settings.control_settings(env)
    assert router.tls is not None
    assert router.tls == control.tls
    assert str(router.tls.client_authority) == "/tls/client_ca.pem"


def test_half_of_the_tls_files_is_refused(open_folder):
    given = {"INTERLOCK_HOME": str(open_folder), "INTERLOCK_TLS_CERTIFICATE": "/tls/server.pem"}
    with pytest.raises(SettingsError, match="expected the certificate and its key") as error:
        read_environment(given)
    assert error.value.at == "INTERLOCK_TLS_KEY"

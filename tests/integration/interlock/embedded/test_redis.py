"""The embedded Redis: real binary, real socket."""

import pytest
import redis


def test_server_answers_on_its_socket(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.set("a", "1")
        assert client.get("a") == b"1"


def test_each_test_starts_empty(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_client_without_the_password_is_refused(redis_server):
    with (
        redis.Redis(unix_socket_path=str(redis_server.socket), retry=None) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_configuration_with_the_password_is_private(redis_server):
    assert redis_server.config.stat().st_mode & 0o077 == 0

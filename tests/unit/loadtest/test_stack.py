import pytest

from loadtest.flags import default_path
from loadtest.stack import DEFAULT_URL, find_demo_key, find_home, find_release, find_url


def test_home_without_a_stack_gives_the_default_address_and_no_key(tmp_path):
    assert find_url(tmp_path) == DEFAULT_URL
    assert find_demo_key(tmp_path) == ""
    assert find_release(tmp_path, "credit") is None


def test_running_stack_is_found_through_its_home(tmp_path, monkeypatch):
    (tmp_path / "stack.json").write_text('{"urls": {"router": "http://127.0.0.1:9"}}')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "story.json").write_text('{"key": "ilk_x", "passwords": {}}')
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    assert find_home(None) == tmp_path
    assert (find_url(tmp_path), find_demo_key(tmp_path)) == ("http://127.0.0.1:9", "ilk_x")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"urls": 5}'])
def test_damaged_state_is_like_none(tmp_path, text):
    (tmp_path / "stack.json").write_text(text)
    assert find_url(tmp_path) == DEFAULT_URL


@pytest.mark.parametrize(
    ("body_format", "path"),
    [
        ("json", "/v1/predict/credit"),
        ("stream", "/v1/stream/credit"),
        ("v2", "/v2/models/credit/infer"),
        ("v2-binary", "/v2/models/credit/infer"),
    ],
)
def test_every_format_has_its_path(body_format, path):
    assert default_path("credit", body_format) == path

"""Keys and envelopes: what was signed is what is read, by whom it claims to be."""

import json

import pytest

from compiler.signing import (
    KeyFileError,
    KeyPair,
    SignatureError,
    key_id,
    pae,
    sign,
    unb64,
    verify,
    verify_signers,
)

KIND = "application/vnd.example+json"


def test_pae_is_the_published_encoding():
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_not_characters():
    assert pae("é", b"") == "DSSEv1 2 é 0 ".encode()


def test_key_from_known_seed_has_the_rfc8032_public_half():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert KeyPair(seed).public.hex() == public


def test_signed_payload_comes_back_with_its_signers():
    one, two = KeyPair.generate(), KeyPair.generate()
    envelope = sign(KIND, b'{"a":1}', one, two)
    keys = {one.id: one.public, two.id: two.public}
    assert verify_signers(envelope, keys, KIND) == (b'{"a":1}', (one.id, two.id))


def test_changed_payload_is_refused():
    key = KeyPair.generate()
    envelope = json.loads(sign(KIND, b"abc", key))
    envelope["payload"] = "YWJk"
    with pytest.raises(SignatureError, match="does not fit the payload"):
        verify(json.dumps(envelope), {key.id: key.public}, KIND)


def test_statement_of_another_type_is_refused():
    key = KeyPair.generate()
    with pytest.raises(SignatureError, match="expected a application/other"):
        verify(sign(KIND, b"abc", key), {key.id: key.public}, "application/other")


def test_type_cannot_be_swapped_after_signing():
    key = KeyPair.generate()
    envelope = json.loads(sign(KIND, b"abc", key))
    envelope["payloadType"] = "application/other"
    with pytest.raises(SignatureError, match="does not fit"):
        verify(json.dumps(envelope), {key.id: key.public}, "application/other")


def test_unknown_signer_is_named():
    key, other = KeyPair.generate(), KeyPair.generate()
    with pytest.raises(SignatureError, match=key.id) as caught:
        verify(sign(KIND, b"abc", key), {other.id: other.public}, KIND)
    assert caught.value.code == "signature.unknown_key"


def test_known_key_id_over_another_key_is_refused():
    key, other = KeyPair.generate(), KeyPair.generate()
    with pytest.raises(SignatureError, match="does not fit"):
        verify(sign(KIND, b"abc", key), {key.id: other.public}, KIND)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"[]",
        b"{}",
        b'{"payloadType":"x","payload":"!","signatures":[]}',
        b'{"payloadType":"x","payload":"YQ==","signatures":[],"more":1}',
        b"\xff\xfe",
        b'{"payloadType":"application/vnd.example+json","payload":"YQ==","signatures":[]}',
    ],
)
def test_malformed_envelope_is_refused(envelope):
    with pytest.raises(SignatureError):
        verify(envelope, {}, KIND)


def test_too_many_signatures_are_refused():
    key = KeyPair.generate()
    envelope = json.loads(sign(KIND, b"abc", key))
    envelope["signatures"] *= 17
    with pytest.raises(SignatureError, match="at most 16"):
        verify(json.dumps(envelope), {key.id: key.public}, KIND)


def test_saved_key_signs_like_the_original_and_is_private(tmp_path):
    key = KeyPair.generate()
    path = tmp_path / "people" / "ada.key"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = KeyPair.load(path)
    assert loaded.id == key.id == key_id(key.public)
    assert loaded.sign_raw(b"x") == key.sign_raw(b"x")


def test_key_file_is_never_replaced(tmp_path):
    path = tmp_path / "a.key"
    KeyPair.generate().save(path)
    with pytest.raises(KeyFileError, match="never replaced"):
        KeyPair.generate().save(path)


def test_key_readable_by_others_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "a.key"
    KeyPair.generate().save(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 0644") as caught:
        KeyPair.load(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_passphrase_opens_the_key_and_nothing_else_does(tmp_path):
    key = KeyPair.generate()
    path = tmp_path / "a.key"
    key.save(path, passphrase="correct horse")
    assert b"seed" not in path.read_bytes()
    assert KeyPair.load(path, "correct horse").id == key.id
    with pytest.raises(KeyFileError, match="does not open"):
        KeyPair.load(path, "battery staple")
    with pytest.raises(KeyFileError, match="needs its passphrase"):
        KeyPair.load(path)


def test_damaged_key_file_is_refused(tmp_path):
    path = tmp_path / "a.key"
    KeyPair.generate().save(path)
    content = json.loads(path.read_bytes())
    content["public"] = json.loads(
        json.dumps(KeyPair.generate().public.hex())
    )  # another public half
    path.write_bytes(json.dumps(content).encode())
    with pytest.raises(KeyFileError):
        KeyPair.load(path)
    path.write_bytes(b"{")
    with pytest.raises(KeyFileError, match="not a key file"):
        KeyPair.load(path)


def test_missing_key_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match="No such file"):
        KeyPair.load(tmp_path / "none.key")


def test_url_safe_base64_is_read():
    assert unb64("-_8=") == b"\xfb\xff"

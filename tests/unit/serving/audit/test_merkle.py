"""Merkle trees against the definition and against tampering."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from serving.audit import merkle

HASHES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


def defined(leaves):
    """MTH of RFC 6962 section 2.1, as written there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:half]) + defined(leaves[half:])).digest()


@given(HASHES)
def test_root_is_that_of_the_definition(leaves):
    assert merkle.root(leaves) == defined(leaves)


def test_known_roots():
    leaves = [merkle.leaf_hash(data) for data in (b"", b"\x00", b"\x10")]
    assert merkle.root([]).hex().startswith("e3b0c44298fc1c14")
    assert merkle.root(leaves).hex().startswith("aeb6bcfe274b70a1")


@given(HASHES, st.data())
def test_every_leaf_has_a_proof_and_no_other_place_accepts_it(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = merkle.proof(leaves, index)
    root, size = merkle.root(leaves), len(leaves)
    assert merkle.root_from_proof(leaves[index], index, size, path) == root
    assert merkle.root_from_proof(bytes(32), index, size, path) != root or leaves[index] == bytes(
        32
    )
    assert merkle.root_from_proof(leaves[index], index, size, [*path, bytes(32)]) is None
    if path:
        assert merkle.root_from_proof(leaves[index], index, size, path[:-1]) is None
    assert merkle.root_from_proof(leaves[index], size, size, path) is None

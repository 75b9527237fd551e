"""RFC 6962 by its own definition, written out naively beside ours."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tree import (
    EMPTY_ROOT,
    Tree,
    consistency_path,
    edge_of,
    inclusion_path,
    is_consistent,
    leaf_hash,
    nodes_in,
    root_by_path,
    root_of,
)

# From RFC 6962's reference implementation: eight leaves and the roots of their prefixes.
LEAVES = [
    bytes.fromhex(text)
    for text in [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


@pytest.mark.parametrize("size", ROOTS)
def test_the_roots_are_those_of_the_known_answers(size: int) -> None:
    assert root_of(leaf_hash(leaf) for leaf in LEAVES[:size]).hex() == ROOTS[size]


@given(st.integers(0, 600))
def test_a_tree_that_grows_has_the_root_of_the_definition(size: int) -> None:
    leaves = [str(n).encode() for n in range(size)]
    tree = Tree()
    completed = [node for leaf in leaves for node in tree.append(leaf_hash(leaf))]
    assert tree.root() == mth(leaves) == root_of(leaf_hash(leaf) for leaf in leaves)
    assert completed == [(8, n, mth(leaves[n * 256 : n * 256 + 256])) for n in range(size // 256)]
    if size:
        assert edge_of(size, nodes_in([leaf_hash(leaf) for leaf in leaves])) == tree.edge


@given(st.integers(1, 300), st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_no_other(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = [leaf_hash(str(n).encode()) for n in range(size)]
    path, root = inclusion_path(index, size, nodes_in(hashes)), root_of(hashes)
    assert root_by_path(hashes[index], index, size, path) == root
    assert root_by_path(leaf_hash(b"another"), index, size, path) != root
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        assert root_by_path(hashes[index], other, size, path) != root
    assert root_by_path(hashes[index], index, size, [*path, EMPTY_ROOT]) != root
    if path:
        assert root_by_path(hashes[index], index, size, path[:-1]) != root


@given(st.integers(0, 300), st.data())
def test_a_tree_is_consistent_with_its_beginnings_and_with_nothing_else(
    size: int, data: st.DataObject
) -> None:
    old = data.draw(st.integers(0, size))
    hashes = [leaf_hash(str(n).encode()) for n in range(size)]
    old_root, root = root_of(hashes[:old]), root_of(hashes)
    path = consistency_path(old, size, nodes_in(hashes))
    assert is_consistent(old, size, old_root, root, path)
    if old:
        assert not is_consistent(old, size, leaf_hash(b"another"), root, path)
        assert not is_consistent(old, size, old_root, leaf_hash(b"another"), path)
    if 0 < old < size:
        assert not is_consistent(old, size, old_root, root, path[:-1])
        assert not is_consistent(old, size, old_root, root, [*path, root])

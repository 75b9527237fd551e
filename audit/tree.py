"""What is the hash of everything so far? An RFC 6962 Merkle tree over SHA-256.

Danger: leaves and nodes are hashed with different first bytes (0x00, 0x01). Without that a node
could be shown as a leaf. A perfect subtree of `2**height` leaves is called `node(height, index)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

NodeAt = Callable[[int, int], bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962 2.1: the hash of one entry's stored bytes."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 2.1: the hash of two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes, in memory. An odd one out rises unpaired, as RFC 6962 splits."""
    row = list(hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        paired = [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            paired.append(row[-1])
        row = paired
    return row[0]


class Tree:
    """The right edge of a growing tree: what an append needs, and no more.

    `edge` holds one hash for each one-bit of `size`, tallest first. `append` hands back the nodes
    of height 8, 16, 24, … that it completed, as (height, index, hash): the rows of higher tiles.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        if len(edge) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} edge hashes")
        self.size = size
        self.edge = list(edge)
        self._root = (-1, b"")  # of which size it is

    def append(self, hashed: bytes) -> list[tuple[int, int, bytes]]:
        completed: list[tuple[int, int, bytes]] = []
        edge = self.edge
        carry, height = self.size, 0
        while carry & 1:
            hashed = sha256(b"\x01" + edge.pop() + hashed).digest()
            carry >>= 1
            height += 1
            if height % TILE_HEIGHT == 0:
                completed.append((height, carry, hashed))
        edge.append(hashed)
        self.size += 1
        return completed

    def root(self) -> bytes:
        if not self.edge:
            return EMPTY_ROOT
        if self._root[0] != self.size:
            hashed = self.edge[-1]
            for left in reversed(self.edge[:-1]):
                hashed = node_hash(left, hashed)
            self._root = (self.size, hashed)
        return self._root[1]


def edge_of(size: int, node: NodeAt) -> list[bytes]:
    """The edge of a tree of `size` leaves, tallest subtree first, from its perfect subtrees."""
    edge, start = [], 0
    for height in range(size.bit_length() - 1, -1, -1):
        if size >> height & 1:
            edge.append(node(height, start >> height))
            start += 1 << height
    return edge


def nodes_in(hashes: Sequence[bytes]) -> NodeAt:
    """Every perfect subtree of a list of leaf hashes, computed once."""
    rows = [list(hashes)]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return lambda height, index: rows[height][index]


def range_root(low: int, high: int, node: NodeAt) -> bytes:
    """MTH(D[low:high]) of RFC 6962; the range must be one that the tree's own splits produce."""
    width = high - low
    if width == 0:
        return EMPTY_ROOT
    height = width.bit_length() - 1
    if width == 1 << height:
        return node(height, low >> height)
    split = low + (1 << height)
    return node_hash(range_root(low, split, node), range_root(split, high, node))


def inclusion_path(index: int, size: int, node: NodeAt) -> list[bytes]:
    """RFC 6962 2.1.1, leaf's sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"no record {index} in a tree of {size}")
    low, high, path = 0, size, []
    while high - low > 1:
        split = low + (1 << ((high - low - 1).bit_length() - 1))
        if index < split:
            path.append(range_root(split, high, node))
            high = split
        else:
            path.append(range_root(low, split, node))
            low = split
    return path[::-1]


def root_by_path(hashed: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a path leads to (RFC 9162 2.1.3.2); None when the path can't be one."""
    if not 0 <= index < size:
        return None
    position, last = index, size - 1
    for sibling in path:
        if last == 0:
            return None
        if position & 1 or position == last:
            hashed = node_hash(sibling, hashed)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            hashed = node_hash(hashed, sibling)
        position >>= 1
        last >>= 1
    return hashed if last == 0 else None


def consistency_path(old: int, size: int, node: NodeAt) -> list[bytes]:
    """RFC 6962 2.1.2: proof that a tree of `size` begins with the tree of `old`."""
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} can't contain one of {old}")
    if old in (0, size):
        return []

    def subproof(m: int, low: int, high: int, whole: bool) -> list[bytes]:
        if m == high - low:
            return [] if whole else [range_root(low, high, node)]
        split = 1 << ((high - low - 1).bit_length() - 1)
        if m <= split:
            rest = [range_root(low + split, high, node)]
            return subproof(m, low, low + split, whole) + rest
        rest = [range_root(low, low + split, node)]
        return subproof(m - split, low + split, high, False) + rest

    return subproof(old, 0, size, True)


def is_consistent(old: int, size: int, old_root: bytes, root: bytes, path: Sequence[bytes]) -> bool:
    """RFC 9162 2.1.4.2. The empty tree is a beginning of every tree, by the empty proof."""
    if old > size or old < 0:
        return False
    if old == size:
        return old_root == root and not path
    if old == 0:
        return old_root == EMPTY_ROOT and not path
    if not path:
        return False
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    first, last = old - 1, size - 1
    while first & 1:
        first >>= 1
        last >>= 1
    seen_old = seen_new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            seen_old = node_hash(sibling, seen_old)
            seen_new = node_hash(sibling, seen_new)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            seen_new = node_hash(seen_new, sibling)
        first >>= 1
        last >>= 1
    return last == 0 and seen_old == old_root and seen_new == root

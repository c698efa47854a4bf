"""Layered drawing of the graph of runs, without Qt.

Longest-path layering, ordering by barycentres, then horizontal places that are as near as they
can be to those of the neighbours (Sugiyama et al. 1981, doi:10.1109/TSMC.1981.4308636).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Node = str | tuple[str, str, int]
"""A run, or the place where a long edge (parent, child) crosses layer ``int``."""


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes and the points that edges go through, top to bottom."""

    centre: dict[str, tuple[float, float]] = field(default_factory=dict)
    edges: dict[tuple[str, str], tuple[tuple[float, float], ...]] = field(default_factory=dict)
    layers: tuple[tuple[str, ...], ...] = ()


def visible_runs(parents: Mapping[str, Sequence[str]], collapsed: set[str]) -> list[str]:
    """Runs that are not hidden: without parents, or with one that is seen and not collapsed."""
    seen: dict[str, bool] = {}
    for ident in topological(parents):
        above = [p for p in parents[ident] if p in parents]
        seen[ident] = not above or any(seen[p] and p not in collapsed for p in above)
    return [ident for ident in parents if seen[ident]]


def topological(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Runs with every parent before its children; what lies on a cycle comes last, as it stands."""
    children: dict[str, list[str]] = {ident: [] for ident in parents}
    waiting = {}
    for ident, above in parents.items():
        known = {p for p in above if p in parents}
        waiting[ident] = len(known)
        for p in known:
            children[p].append(ident)
    order = [ident for ident in parents if waiting[ident] == 0]
    for ident in order:
        for child in children[ident]:
            waiting[child] -= 1
            if waiting[child] == 0:
                order.append(child)
    done = set(order)
    return order + [ident for ident in parents if ident not in done]


def reachable(start: Sequence[str], edges: Mapping[str, Sequence[str]]) -> set[str]:
    """Runs on any way from ``start`` along ``edges``, ``start`` included."""
    found, todo = set(start), list(start)
    while todo:
        for other in edges.get(todo.pop(), ()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def children_of(parents: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The same graph, downwards."""
    children: dict[str, list[str]] = {ident: [] for ident in parents}
    for ident, above in parents.items():
        for p in above:
            if p in children:
                children[p].append(ident)
    return children


def layered_layout(
    parents: Mapping[str, Sequence[str]],
    *,
    width: float,
    height: float,
    gap_x: float,
    gap_y: float,
    sweeps: int = 8,
) -> Layout:
    """Place the runs of ``parents`` (run to its parents, in the order of their creation)."""
    order = topological(parents)
    place = {ident: i for i, ident in enumerate(order)}
    level: dict[str, int] = {}
    for ident in order:
        # An edge back, as on a cycle of a damaged project, does not count.
        above = [level[p] for p in parents[ident] if p in level and place[p] < place[ident]]
        level[ident] = max(above, default=-1) + 1
    layers: list[list[Node]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for ident in parents:
        layers[level[ident]].append(ident)
    up: dict[Node, list[Node]] = {ident: [] for ident in parents}
    chains: dict[tuple[str, str], list[Node]] = {}
    for ident in parents:
        for p in dict.fromkeys(parents[ident]):
            if p in level and level[p] < level[ident]:
                chain: list[Node] = [p]
                for between in range(level[p] + 1, level[ident]):
                    bend: Node = (p, ident, between)
                    layers[between].append(bend)
                    up[bend] = [chain[-1]]
                    chain.append(bend)
                up[ident].append(chain[-1])
                chains[p, ident] = [*chain, ident]
    down: dict[Node, list[Node]] = {node: [] for node in up}
    for node, above_nodes in up.items():
        for other in above_nodes:
            down[other].append(node)
    _order(layers, up, down, sweeps)
    x = _places(layers, up, down, width, gap_x, sweeps)
    step = height + gap_y
    y = {node: i * step for i, layer in enumerate(layers) for node in layer}
    return Layout(
        centre={ident: (x[ident], y[ident]) for ident in parents},
        edges={pair: tuple((x[n], y[n]) for n in chain) for pair, chain in chains.items()},
        layers=tuple(tuple(n for n in layer if isinstance(n, str)) for layer in layers),
    )


def _order(
    layers: list[list[Node]],
    up: Mapping[Node, list[Node]],
    down: Mapping[Node, list[Node]],
    sweeps: int,
) -> None:
    """Order within the layers, by the mean position of the neighbours, keeping the best found."""
    best, fewest = [list(layer) for layer in layers], crossings(layers, down)
    for sweep in range(sweeps):
        if fewest == 0:
            break
        forward = sweep % 2 == 0
        neighbours = up if forward else down
        for i in range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1):
            fixed = layers[i - 1] if forward else layers[i + 1]
            position = {node: k for k, node in enumerate(fixed)}
            weight: dict[Node, float] = {}
            for k, node in enumerate(layers[i]):
                near = [position[n] for n in neighbours[node]]
                weight[node] = sum(near) / len(near) if near else k
            layers[i].sort(key=weight.__getitem__)
        now = crossings(layers, down)
        if now < fewest:
            best, fewest = [list(layer) for layer in layers], now
    for layer, kept in zip(layers, best, strict=True):
        layer[:] = kept
    _swap_neighbours(layers, up, down)


def _swap_neighbours(
    layers: list[list[Node]], up: Mapping[Node, list[Node]], down: Mapping[Node, list[Node]]
) -> None:
    """Swap what stands side by side where that saves a crossing, or else a way to go."""
    position = {node: k for layer in layers for k, node in enumerate(layer)}

    def cost(left: Node, right: Node, k: int) -> tuple[int, int]:
        crossed = way = 0
        for near in (up, down):
            ends = [position[n] for n in near[left]], [position[n] for n in near[right]]
            crossed += sum(1 for a in ends[0] for b in ends[1] if a > b)
            way += sum(abs(a - k) for a in ends[0]) + sum(abs(b - k - 1) for b in ends[1])
        return crossed, way

    for layer in layers:
        for k in range(len(layer) - 1):
            left, right = layer[k], layer[k + 1]
            if cost(right, left, k) < cost(left, right, k):
                layer[k], layer[k + 1] = right, left
                position[right], position[left] = k, k + 1


def crossings(layers: Sequence[Sequence[Node]], down: Mapping[Node, Sequence[Node]]) -> int:
    """How often edges cross."""
    total = 0
    for upper, lower in itertools.pairwise(layers):
        position = {node: k for k, node in enumerate(lower)}
        ends: list[int] = []
        for node in upper:
            mine = sorted(position[n] for n in down[node])
            for e in mine:
                total += sum(1 for other in ends if other > e)
            ends += mine
    return total


def _places(
    layers: list[list[Node]],
    up: Mapping[Node, list[Node]],
    down: Mapping[Node, list[Node]],
    width: float,
    gap: float,
    sweeps: int,
) -> dict[Node, float]:
    x: dict[Node, float] = {}
    offsets: list[list[float]] = []
    for layer in layers:
        at, offset = 0.0, []
        for k, node in enumerate(layer):
            if k:
                at += (_half(layer[k - 1], width) + _half(node, width)) + gap
            offset.append(at)
        offsets.append(offset)
        for node, o in zip(layer, offset, strict=True):
            x[node] = o - at / 2
    for sweep in range(sweeps):
        forward = sweep % 2 == 0
        near_of = up if forward else down
        for i in range(len(layers)) if forward else range(len(layers) - 1, -1, -1):
            wanted, weights = [], []
            for node in layers[i]:
                near = near_of[node] or (down if forward else up)[node]
                wanted.append(sum(x[n] for n in near) / len(near) if near else x[node])
                # Bends are held harder, so that long edges run straight.
                weights.append(1.0 if isinstance(node, str) else 4.0)
            shifted = [w - o for w, o in zip(wanted, offsets[i], strict=True)]
            for node, o, s in zip(
                layers[i], offsets[i], monotone_fit(shifted, weights), strict=True
            ):
                x[node] = o + s
    return x


def _half(node: Node, width: float) -> float:
    return width / 2 if isinstance(node, str) else 6.0


def monotone_fit(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Non-decreasing numbers nearest to ``values`` in the weighted least-squares sense.

    Pool adjacent violators: with the offsets of the boxes taken off beforehand it gives the
    places nearest to the wanted ones at which no two boxes overlap.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, total, count = value, weight, 1
        while blocks and blocks[-1][0] > mean:
            m, t, n = blocks.pop()
            mean = (mean * total + m * t) / (total + t)
            total, count = total + t, count + n
        blocks.append((mean, total, count))
    return [mean for mean, _, count in blocks for _ in range(count)]

"""One page about a compressed network, which opens without a server or a network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitbook.codes import RULES, Compressed, SparseCode, recount
from bitbook.report._words import COUNTS, natural

TEMPLATES = Path(__file__).parent / "pages"
PARTS = ("#0173b2", "#de8f05", "#029e73", "#cc78bc", "#ca9161", "#56b4e9", "#949494", "#fbafe4")
LOW, MIDDLE, HIGH = np.array([[1, 115, 178], [225, 225, 225], [213, 94, 0]])  # colour-blind safe, of values about zero
MOST = 256  # entries drawn of a codebook; of more, so many equal stretches of its range


def page(compressed: Compressed, name: str, *, links: Mapping[str, str] | None = None) -> str:
    """Return HTML about a compressed network: its size, layers, codebooks with how often each entry is used, ledger.

    Args:
        compressed: What a file holds.
        name: The title, such as the file's name.
        links: Where `home`, the page that leads here, and `file`, the file itself, are seen from this page.

    Returns:
        A page that loads nothing, neither styles nor pictures.
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data, ledger = compressed.to_bytes(), compressed.ledger()
    weights = sum(math.prod(code.shape) for code in compressed.codes.values())
    bounds = {part: sum(row.bound for row in ledger.rows if row.part == part) for part in ledger.by_part()}
    layers, sizes = list(_layers(compressed)), list(_sizes(compressed))
    specification: Mapping[str, Any] = compressed.specification
    whole = specification["arguments"]["of"] if specification.get("factory") == "shrunk" else specification
    return environment.get_template("file.html").render(
        name=name,
        links=links,
        file=compressed,
        specification=json.dumps(specification, default=dict, indent=1, sort_keys=True),
        network=whole.get("arguments", {}).get("name") or whole.get("factory") or whole.get("class"),
        shrunk=whole is not specification,
        size=len(data),
        checksum=data[-8:].hex(),
        weights=weights,
        parts=[
            {"part": part, "bytes": size, "share": size / ledger.total, "bound": bounds[part], "colour": colour}
            for (part, size), colour in zip(ledger.by_part().items(), PARTS, strict=False)
        ],
        sizes=sizes,
        largest=max(row["bytes"] for row in sizes),
        layers=layers,
        deepest=max((layer["bits"] for layer in layers), default=0),
        books=list(_books(compressed)),
    )


def _sizes(compressed: Compressed) -> Iterator[dict[str, Any]]:
    """Yield the file's size, that of its original, and what each paper would count, where its rule fits the codes."""
    yield {"what": "float32 parameters", "rule": "", "bytes": 4 * compressed.original_parameters, "ratio": 1.0}
    yield {"what": "this file", "rule": "", "bytes": len(compressed.to_bytes()), "ratio": compressed.ratio}
    for rule in RULES:
        try:
            counts = recount(compressed, rule)
        except ValueError:
            continue
        for count in counts:
            yield {"what": count.what, "rule": COUNTS[rule], "bytes": count.bits / 8, "ratio": count.ratio}


def _layers(compressed: Compressed) -> Iterator[dict[str, Any]]:
    """Yield what each coded tensor takes, by the ledger."""
    rows = compressed.ledger().rows
    for name, code in sorted(compressed.codes.items(), key=lambda item: natural(item[0])):
        weights = math.prod(code.shape)
        family = f"sparse, {code.inner.kind}" if isinstance(code, SparseCode) else code.kind
        own = sum(row.bytes for row in rows if row.section == name)
        zeros = 1 - np.count_nonzero(code.decode(compressed.codebooks)) / max(weights, 1)
        shape = " x ".join(map(str, code.shape))
        values = {"name": name, "shape": shape, "family": family, "weights": weights, "bytes": own, "zeros": zeros}
        yield values | {"bits": 8 * own / max(weights, 1)}


def _books(compressed: Compressed) -> Iterator[dict[str, Any]]:
    """Yield each codebook, and of codes without one each grid, with its entries as drawn and how often they occur."""
    uses: dict[str, np.ndarray] = {}
    layers: dict[str, list[str]] = {}
    for tensor, code in compressed.codes.items():
        for name, counts in code.counts(compressed.codebooks).items():
            if name != "positions left":
                uses[name] = uses.get(name, 0) + counts
                layers.setdefault(name, []).append(tensor)
    for name, counts in sorted(uses.items(), key=lambda item: natural(item[0])):
        book = compressed.codebooks.get(name)
        if book is None:  # the whole numbers of a grid's depth
            book = np.arange(len(counts)) - len(counts) // 2
        about = {"name": name, "layers": layers[name], "size": len(book), "used": int((counts > 0).sum())}
        about |= {"type": "whole numbers" if name not in compressed.codebooks else str(book.dtype)}
        about |= {"entropy": _entropy(counts), "vector": book.shape[1] if book.ndim > 1 else 0}
        yield about | (_codewords(book, counts) if book.ndim > 1 else _values(book, counts))


def _values(book: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Entries on a line of 1,000 units: (place, height, colour, words) each, 100 units high where most weights are."""
    values, merged = book.astype(np.float64), len(book) > MOST
    low, high = (values.min(), values.max()) if len(values) > 1 else (values[0] - 1, values[0] + 1)
    if merged:
        counts, edges = np.histogram(values, MOST, weights=counts)
        values = (edges[1:] + edges[:-1]) / 2
    places = 10 + 980 * (values - low) / ((high - low) or 1)
    colours, heights = _colours(values), 100 * counts / max(counts.max(), 1)
    words = [f"{value:.4g}: {count:,.0f} times" for value, count in zip(values, counts, strict=True)]
    zero = 10 - 980 * low / ((high - low) or 1) if low <= 0 <= high else None
    entries = list(zip(places.round(1), heights.round(1), colours, words, strict=True))
    return {"entries": entries, "zero": zero, "low": f"{low:.4g}", "high": f"{high:.4g}", "merged": merged}


def _codewords(book: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Codewords as columns of swatches, most used first: (height, colours, words) each."""
    order = np.argsort(-counts, kind="stable")[:MOST]
    colours = [_colours(word, float(np.abs(book).max())) for word in book[order]]
    words = [f"{np.round(book[i].astype(float), 4).tolist()}: {counts[i]:,} times" for i in order]
    heights = (100 * counts[order] / max(counts.max(), 1)).round(1)
    return {"entries": list(zip(heights, colours, words, strict=True)), "merged": len(book) > MOST}


def _colours(values: np.ndarray, extent: float = 0.0) -> list[str]:
    """Blue below zero, grey at zero, red above."""
    share = np.clip(values.astype(np.float64) / (extent or np.abs(values).max() or 1), -1, 1)[:, None]
    mixed = MIDDLE + np.abs(share) * (np.where(share < 0, LOW, HIGH) - MIDDLE)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed.astype(int)]


def _entropy(counts: np.ndarray) -> float:
    """Bits a symbol."""
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0

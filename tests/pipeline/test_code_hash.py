from __future__ import annotations

from pathlib import Path

import pytest
from bitbook.pipeline._code_hash import closure, code_hash, imported, module_hashes

FILES = {
    "__init__.py": "",
    "a/__init__.py": "from .one import f",
    "a/one.py": "import numpy\nfrom ..b import two",
    "b/__init__.py": "",
    "b/two.py": "def g():\n    from house.c import three\n    return three",
    "b/unused.py": "",
    "c/__init__.py": "",
    "c/three.py": "import house\nprint(house.d.h)",
    "d.py": "h = 1",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).write_text(text)
    return tmp_path / "house"


def test_direct_imports_absolute_relative_and_by_attribute(house):
    assert imported(FILES["a/one.py"], module="house.a.one", package=house) == {"house.b", "house.b.two"}
    assert imported(FILES["a/__init__.py"], module="house.a", package=house) == {"house.a.one"}
    assert imported(FILES["c/three.py"], module="house.c.three", package=house) == {"house", "house.d"}
    assert imported("from house.a import f", package=house) == {"house.a"}


def test_closure_follows_imports_inside_of_functions_and_packages_on_the_way(house):
    everything = {"house", "house.a", "house.a.one", "house.b", "house.b.two", "house.c", "house.c.three", "house.d"}
    assert closure("from house import a", package=house) == everything
    assert closure("from house import a", without=("house.b",), package=house) == {"house", "house.a", "house.a.one"}


def test_comments_docstrings_and_layout_do_not_count_but_code_does():
    documented = '"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1'
    assert code_hash(documented) == code_hash("def f(x): return x+1  # why")
    assert code_hash("x = 1") != code_hash("x = 2")


def test_hashes_are_named(house):
    hashes = module_hashes({"house.d", "house.b"}, house)
    assert list(hashes) == ["house.b", "house.d"]
    assert hashes["house.d"] == code_hash("h = 1")

"""A network's specification, frozen: plain JSON that nobody can change after a file has been made of it."""

from typing import Any, NoReturn


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("a specification cannot be changed: make another Compressed with dataclasses.replace")


class _Dict(dict):
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple]:  # copies and pickles are plain dicts
        return dict, (dict(self),)


class _List(list):
    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = pop = _refuse
    remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[type, tuple]:
        return list, (list(self),)


def frozen_json(value: Any) -> Any:
    """Return the value of JSON in dicts and lists that equal plain ones but refuse changes."""
    if isinstance(value, dict):
        return _Dict((name, frozen_json(part)) for name, part in value.items())
    if isinstance(value, list):
        return _List(map(frozen_json, value))
    return value

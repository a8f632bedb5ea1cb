"""The numbers of a `torch.save` file, read without executing anything in it.

Such a file is a zip archive: `<name>/data.pkl`, a pickle that describes objects, and `<name>/data/<key>`, the raw
numbers of the tensors. A pickle is a program for a small stack machine, and the harm it can do comes from the functions
and classes that it names. The machine here knows a fixed list of names, all of which stand for inert records; any other
name, and any instruction it does not need, ends the reading. No class is imported, no function of the file is called.

Contract: at most the bytes of the file are read into memory, once: archive members are stored uncompressed, do not
overlap, and hold exactly the numbers that the pickle says; a tensor lies within its storage.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciml_datasets.formats._h5compact import refuse

STORAGES = {
    "torch FloatStorage": "<f4", "torch DoubleStorage": "<f8", "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8", "torch IntStorage": "<i4", "torch ShortStorage": "<i2",
    "torch CharStorage": "i1", "torch ByteStorage": "u1", "torch BoolStorage": "?",
}  # fmt: skip
RECORDS = {f"torch_geometric.data.data {name}" for name in ("Data", "DataEdgeAttr", "DataTensorAttr")}
RECORDS |= {f"torch_geometric.data.storage {name}" for name in ("GlobalStorage", "NodeStorage", "EdgeStorage")}
MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
ARRAYS = {f"{module} _reconstruct" for module in MULTIARRAY}
SCALARS = {f"{module} scalar" for module in MULTIARRAY}
OTHERS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "numpy ndarray",
    "numpy dtype",
    "_codecs encode",
}
KNOWN = {*STORAGES, *RECORDS, *ARRAYS, *SCALARS, *OTHERS}
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
          "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Name:
    """The name of a function or class, which stays a name: "module attribute"."""

    text: str


@dataclass(eq=False)
class Record:
    """An object of which only the name of its class and its state are kept."""

    name: str
    state: Any = None


def read_pt(path: str | Path) -> Any:
    """Return what a `torch.save` file describes: lists, dicts, numbers, texts, `Record`; tensors as NumPy."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            return _Machine(path, archive, members).run()
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        expected = "a complete zip archive, as torch.save writes since torch 1.6"
        raise refuse(path, expected, str(error), "copy or save the file again") from None
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        if str(error).startswith(f"{path}: "):  # a sentence of our own
            raise
        raise refuse(path, "a well-formed pickle of trees", repr(error), "copy the file again") from None


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members by their names below the archive's one folder, after the check of their sizes."""
    infos = archive.infolist()
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            got = f"the member {info.filename} packed from {info.compress_size:,} to {info.file_size:,} bytes"
            raise refuse(path, "members stored as they are, as torch.save does", got, "do not trust this file")
    total, size = sum(info.file_size for info in infos), path.stat().st_size
    if total > size:
        raise refuse(path, f"members of at most {size:,} bytes in all", f"{total:,}", "do not trust this file")
    members = {info.filename.partition("/")[2]: info for info in infos}
    if "data.pkl" not in members:
        raise refuse(path, "a member data.pkl", f"{sorted(members)[:4]}", "is this a file of torch.save?")
    if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
        raise refuse(path, "little-endian numbers", "others", "save the file again on another machine")
    return members


class _Machine:
    """The stack machine of pickles, with no instruction that could call or import anything."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> None:
        self.path, self.archive, self.members = path, archive, members
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, NDArray] = {}

    def run(self) -> Any:
        for name, argument in self._instructions():
            if name in VALUES:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in EMPTY:
                self.stack.append(EMPTY[name]())
            elif name in TUPLES:
                self.stack[-TUPLES[name] :] = [tuple(self.stack[-TUPLES[name] :])]
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                step = getattr(self, f"on_{name.lower()}", None)
                if step is None:
                    raise refuse(self.path, "a pickle of plain data", f"the instruction {name}", "do not trust it")
                step(argument)
        raise refuse(self.path, "a pickle that ends", "one cut short", "copy the file again")

    def _instructions(self) -> Iterator[tuple[str, Any]]:
        try:
            for opcode, argument, _ in pickletools.genops(io.BytesIO(self.archive.read(self.members["data.pkl"]))):
                yield opcode.name, argument
        except ValueError as error:  # what genops says of damage; a ValueError of a step does not pass through here
            raise refuse(self.path, "a complete pickle", str(error), "copy the file again") from None

    def on_mark(self, _: None) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def _to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def on_tuple(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def on_append(self, _: None) -> None:
        item = self.stack.pop()
        self._extend([item])

    def on_appends(self, _: None) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("items for something that is no list")
        self.stack[-1].extend(items)

    def on_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def on_setitems(self, _: None) -> None:
        self._update(self._to_mark())

    def _update(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or not all(isinstance(key, str | int) for key in keys):
            raise TypeError("entries for something that is no dict of names")
        self.stack[-1].update(zip(keys, values, strict=False))

    def on_binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    on_long_binput = on_binput

    def on_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    on_long_binget = on_binget

    def on_global(self, text: str) -> None:
        if text not in KNOWN:
            got = f"the name {text.replace(' ', '.')}"
            raise refuse(
                self.path, "only tensors and torch_geometric Data", got, "nothing was executed; do not trust it"
            )
        self.stack.append(Name(text))

    def on_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.on_global(f"{module} {name}")

    def on_newobj(self, _: None) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        if made.text not in RECORDS or arguments != ():
            raise TypeError(f"an object of {made.text} with arguments")
        self.stack.append(Record(made.text, {}))

    def on_build(self, _: None) -> None:
        state, record = self.stack.pop(), self.stack[-1]
        if record.name in ARRAYS:
            record.state = self._array(*state[1:])
        elif record.name == "numpy dtype":
            record.state = np.dtype(record.state).newbyteorder(state[1])
        else:
            record.state.update({key: value for key, value in state.items() if isinstance(key, str)})

    def on_reduce(self, _: None) -> None:
        arguments, name = self.stack.pop(), self.stack.pop().text
        if name == "collections OrderedDict" and arguments == ():
            self.stack.append({})
        elif name == "torch._utils _rebuild_tensor_v2":
            self.stack.append(self._tensor(*arguments[:4]))
        elif name == "_codecs encode" and arguments[1:] == ("latin1",):
            self.stack.append(arguments[0].encode("latin1"))
        elif name == "numpy dtype":
            self.stack.append(Record(name, self._dtype(arguments[0])))
        elif name in ARRAYS:
            self.stack.append(Record(name))
        elif name in SCALARS:
            self.stack.append(self._array((), arguments[0], False, arguments[1])[()])
        else:
            raise TypeError(f"a call of {name}")

    def on_binpersid(self, _: None) -> None:
        kind, name, key, _, n_number = self.stack.pop()
        if kind != "storage" or not isinstance(key, str):
            raise TypeError(f"a reference to {kind}")
        if key not in self.storages:
            dtype = np.dtype(STORAGES[name.text])
            info = self.members.get(f"data/{key}")
            size = -1 if info is None else info.file_size
            if info is None or size != n_number * dtype.itemsize:
                got = "no such member" if info is None else f"{size:,} bytes"
                expected = f"{n_number:,} numbers of {dtype.itemsize} bytes in data/{key}"
                raise refuse(self.path, expected, got, "copy the file again, or do not trust it")
            content = self.archive.read(info)
            self.storages[key] = (
                np.frombuffer(content, "u1") != 0 if dtype.kind == "b" else np.frombuffer(content, dtype)
            )
        self.stack.append(self.storages[key])

    def _tensor(self, storage: NDArray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> NDArray:
        n_number, last = math.prod(size), offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        sane = min(offset, *size, *stride, 0) >= 0 and len(size) <= 8 and max(size, default=0) < 2**31
        if not sane or n_number > storage.size or (n_number and last >= storage.size):
            got = f"shape {size} from place {offset} with steps {stride}"
            raise refuse(self.path, f"a tensor within its {storage.size:,} numbers", got, "do not trust it")
        if not n_number:
            return np.empty(size, storage.dtype)
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)

    def _dtype(self, code: str) -> str:
        if np.dtype(code).kind not in "iufb":
            raise TypeError(f"an array of {code}")
        return code

    def _array(self, shape: tuple[int, ...], dtype: Record, by_columns: bool, content: bytes) -> NDArray:
        if dtype.name != "numpy dtype" or type(content) is not bytes:
            raise TypeError("an array of something that is no number")
        kind = np.dtype(dtype.state)
        if len(content) != math.prod(shape) * kind.itemsize:
            got = f"{len(content):,} bytes for shape {shape} of {kind}"
            raise refuse(self.path, "an array with as many numbers as its shape", got, "copy the file again")
        return np.frombuffer(content, kind).reshape(shape, order="F" if by_columns else "C")

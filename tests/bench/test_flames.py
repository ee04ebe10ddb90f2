"""What perf saw becomes a picture in which every sample is where it was."""

from xml.etree import ElementTree as ET

import pytest

from bench import _flame, _folding

_SCRIPT = """
              f8350 __GI___libc_write (/usr/lib/x86_64-linux-gnu/libc.so.6)
              a3902 __pyx_f_6uvloop_4loop_8UVStream__try_write (/x/uvloop/loop.cpython-311-x86_64-linux-gnu.so)
              c76dc __pyx_pw_6uvloop_4loop_8UVStream_5write (/x/uvloop/loop.cpython-311-x86_64-linux-gnu.so)
              103824 _PyEval_EvalFrameDefault (/x/lib/libpython3.11.so.1.0)
              250a3f _PyEval_Vector (/x/lib/libpython3.11.so.1.0)
    ffffffffffffffff [unknown] ([unknown])


    ffffffff8165db97 kfree ([kernel.kallsyms])
    ffffffff816b95d8 vfs_write ([kernel.kallsyms])
    ffffffff816b98aa ksys_write ([kernel.kallsyms])
    ffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
              f8350 __GI___libc_write (/usr/lib/x86_64-linux-gnu/libc.so.6)

              7f62 [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
              7f99 [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
              250a3f gc_collect_main (/x/lib/libpython3.11.so.1.0)
"""


def test_stacks_are_folded_callers_first_and_by_names_a_reader_knows() -> None:
    assert sorted(_folding.fold(_SCRIPT)) == [
        "__libc_write;kernel: write 1",
        "garbage collection;libcrypto 1",
        "python;uvloop.UVStream.write;uvloop.UVStream.try_write;__libc_write 1",
    ]


def test_the_widest_are_the_functions_that_the_samples_ended_in() -> None:
    root = _flame.read(["a;b 6", "a;c 3", "a 1"])
    assert root.samples == 10
    assert _flame.widest(root, 2) == [("b", 0.6), ("c", 0.3)]


def test_each_box_is_as_wide_as_its_share_and_lies_on_its_caller() -> None:
    drawn = ET.fromstring(_flame.draw(_flame.read(["a;b 6", "a;<c> 4", "d 1"]), "some & more"))
    boxes = {}
    for group in drawn.findall("{*}g"):
        title, box = group.find("{*}title"), group.find("{*}rect")
        assert title is not None
        assert title.text is not None
        assert box is not None
        boxes[title.text.rpartition(" ")[0]] = {name: float(box.attrib[name]) for name in ("x", "y", "width")}
    assert boxes["b"]["width"] / boxes["all"]["width"] == pytest.approx(6 / 11, abs=0.01)
    assert boxes["<c>"]["x"] < boxes["b"]["x"]
    assert boxes["all"]["y"] > boxes["a"]["y"] > boxes["b"]["y"] == boxes["<c>"]["y"]


def test_what_is_too_narrow_to_be_seen_is_left_out() -> None:
    assert "tiny" not in _flame.draw(_flame.read(["wide 1000", "tiny 1"]), "")

"""Fit.save and load: the same results, whole files, and a named error for everything else."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, LmmformulaError, fit, load, load_dataset
from lmmformula.errors import LmmformulaWarning
from lmmformula.keeping import container

SLEEP = "Reaction ~ Days + (Days | Subject)"
CALLS = [
    (SLEEP, "sleepstudy", {}),
    ("Reaction ~ poly(Days, 2) + (Days || Subject)", "sleepstudy", {"dispformula": "~ Days", "method": "ml"}),
    ("incidence/size ~ period + (1 | herd)", "cbpp", {"family": "binomial", "weights": "size"}),
    ("count ~ mined + (1 | site)", "Salamanders", {"family": "nbinom2", "ziformula": "~ mined"}),
    ("r2 ~ Anger + btype + (1 | id) + (1 | item)", "VerbAgg", {"family": "binomial", "method": "pql"}),
    ("Yield ~ 1 + (1 | Batch)", "Dyestuff", {"weights": np.linspace(1.0, 2.0, 30)}),
]


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit(SLEEP, load_dataset("sleepstudy"))


@pytest.mark.parametrize(("formula", "data", "options"), CALLS, ids=lambda value: str(value)[:30])
def test_a_loaded_fit_says_what_the_fit_said(
    tmp_path: Path, formula: str, data: str, options: dict[str, Any]
) -> None:
    frame = load_dataset(data)
    model: Any = fit(formula, frame, **options)
    model.save(tmp_path / "fit")
    again: Any = load(tmp_path / "fit")
    assert str(again.summary()) == str(model.summary())
    pd.testing.assert_series_equal(again.predict(frame.head(20)), model.predict(frame.head(20)))
    pd.testing.assert_frame_equal(again.simulate(2, seed=1), model.simulate(2, seed=1))
    assert again.update(data=frame).params.equals(model.update().params)


def test_pickle_itself_still_works(sleep: Fit) -> None:
    again = pickle.loads(pickle.dumps(sleep))
    assert again.params.equals(sleep.params)
    assert again.update("Reaction ~ 1 + (1 | Subject)").nobs == 180


def test_the_file_is_what_the_documentation_says(sleep: Fit, tmp_path: Path) -> None:
    sleep.save(tmp_path / "fit")
    with zipfile.ZipFile(tmp_path / "fit") as archive:
        head = json.loads(archive.read("fit.json"))
    assert (head["format"], head["version"], head["asks"]) == ("lmmformula fit", 3, [])
    with np.load(tmp_path / "fit", allow_pickle=False) as arrays:
        assert any(np.array_equal(arrays[f"{i}"], sleep.problem.y) for i in range(len(arrays.files) - 1))
    assert b"pickle" not in (tmp_path / "fit").read_bytes()


def test_functions_stay_out_and_are_asked_for(tmp_path: Path) -> None:
    frame, path = load_dataset("sleepstudy"), tmp_path / "own.lmm"
    context = {"sq": lambda v: v**2, "late": 5.0, "root": np.sqrt}
    model: Any = fit(
        "Reaction ~ sq(Days) + I(Days > late) + root(Days) + (1 | Subject)", frame, context=context
    )
    with pytest.warns(
        LmmformulaWarning, match=r"without the function `sq`.*load\(.*context=\{'sq': \.\.\.\}\)"
    ):
        model.save(path)
    expected: Any = model.predict(frame.head(12))
    loaded: Any = load(path).predict(frame.head(12))  # `model` lives and knows it
    pd.testing.assert_series_equal(loaded, expected)
    del model
    with pytest.raises(DataError, match=r"calls the function `sq`.*context=\{'sq': \.\.\.\}"):
        load(path)
    again: Any = load(path, context={"sq": lambda v: v**2})
    pd.testing.assert_series_equal(again.predict(frame.head(12)), expected)
    assert again.update(data=frame).params.index[1] == "sq(Days)"


def test_what_cannot_be_saved_is_named_and_replaces_nothing(sleep: Fit, tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "fit"
    sleep.save(path)
    before = path.read_bytes()
    odd = replace(sleep, recall=replace(sleep.recall, arguments={"weights": object()}))
    with pytest.raises(
        LmmformulaError, match=r"cannot be saved: recall\.arguments\['weights'\] is a builtins"
    ):
        odd.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of file sizes are set by the shell")
def test_a_full_disk_leaves_the_good_fit(sleep: Fit, tmp_path: Path) -> None:
    path = tmp_path / "fit"
    sleep.save(path)
    before = path.read_bytes()
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import lmmformula\n"
        f"m = lmmformula.load({str(path)!r})\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {len(before) // 2}))\n"
        "try:\n"
        f"    m.save({str(path)!r})\n"
        "except OSError as error:\n"
        "    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit"]


def _archive(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
    return out.getvalue()


HEAD = {"format": "lmmformula fit", "version": 3, "package": "9.9", "asks": [], "mark": "", "fit": None}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"nothing of ours", "not a saved fit: it begins with"),
        (b"lmmformula fit 2\n\x80\x05.", "format 2, a pickle"),
        (b"PK\x03\x04 and no more", "truncated or damaged"),
        (_archive(a_txt="x"), "another zip archive, of a.txt"),
        (_archive(fit_json="{}"), "another zip archive"),
        (_archive(fit_json="{"), "not JSON"),
        (_archive(fit_json="[" * 100_000), "not JSON"),
        (_archive(fit_json=json.dumps({**HEAD, "version": 4})), "format 4, written by lmmformula 9.9"),
        (_archive(fit_json=json.dumps(HEAD)), "written by 9.9 and holds a NoneType in place of a fit"),
        (
            _archive(fit_json=json.dumps({**HEAD, "fit": {"class": ["result", "Fit", {"new": 1}]}})),
            "Fit.new, a field that this version does not have",
        ),
        (_archive(fit_json=json.dumps(HEAD), **{"0_npy": "no array"}), "not an array of numbers"),
    ],
    ids=lambda value: (
        value[:25] if isinstance(value, str) else "archive"
    ),  # an archive holds the time it was made
)
def test_what_is_no_fit_of_ours_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(LmmformulaError, match=says):
        load(tmp_path / "f")


def test_an_array_that_lies_about_its_size_costs_no_memory(tmp_path: Path) -> None:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "f", "w") as archive:
        archive.writestr("fit.json", json.dumps(HEAD))
        archive.writestr("0.npy", text.getvalue())
    with pytest.raises(LmmformulaError, match="tells of 8,000,000,000,000 bytes"):
        container.read(tmp_path / "f")


def test_damage_is_found_wherever_it_is(sleep: Fit, tmp_path: Path) -> None:
    path = tmp_path / "fit"
    sleep.save(path)
    raw, text, rng = path.read_bytes(), str(sleep.summary()), np.random.default_rng(3)
    found = 0
    for i in range(150):
        damaged = bytearray(raw)
        if i % 3 == 0:
            damaged = damaged[: rng.integers(len(raw))]
        else:  # anywhere, and among the entries of the archive's directory at the end
            start = 0 if i % 3 == 1 else len(raw) - 900
            damaged[rng.integers(start, len(raw))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert str(load(path).summary()) == text
        except LmmformulaError:
            found += 1
    assert found > 100

"""The commands that fit one model many times say what the calls in Python say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit, fit_many, load, load_dataset
from lmmformula.cli import main
from lmmformula.cli.replicating import chosen

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fits") / "sleep.lmm"
    fit(SLEEP, load_dataset("sleepstudy")).save(path)
    return path


@pytest.fixture
def model(saved: Path) -> Fit:
    return load(saved)


def test_power(saved: Path, model: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--effect", "Days=5", "--draws", "30", "--seed", "1"]
    assert main(["power", str(saved), *given, "--vary", "Subject=6,12"]) == 0
    curve = model.power({"Days": 5}, {"Subject": [6, 12]}, 30, seed=1)
    assert capsys.readouterr().out.rstrip() == str(curve)
    assert main(["power", str(saved), *given, "--vary", "rows=4", "--within", "Subject", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows within Subject"] == [4.0]
    assert main(["power", str(saved), *given, "--design", "sleepstudy", "--test", "z", "--json"]) == 0
    same = model.power({"Days": 5}, None, 30, seed=1, design=load_dataset("sleepstudy"), test="z")
    assert json.loads(capsys.readouterr().out)["power"] == same.frame["power"].tolist()


def test_bootstrap(saved: Path, model: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "draws.csv", tmp_path / "page.html"
    given = ["bootstrap", str(saved), "--draws", "15", "--seed", "2"]
    assert main([*given, "--out", str(out), "--report", str(page)]) == 0
    assert capsys.readouterr().out == ""
    drawn = model.bootstrap(15, 2)
    np.testing.assert_allclose(pd.read_csv(out)["Days"], drawn["Days"])
    assert "15 replicates" in page.read_text(encoding="utf-8")
    assert main([*given, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(record["std_error"], drawn.std())
    assert record["name"][1] == "Days"
    assert main([*given, "--type", "basic", "--json"]) == 0
    limits = model.bootstrap(15, 2, type="basic")
    np.testing.assert_allclose(json.loads(capsys.readouterr().out)["2.5 %"], limits["2.5 %"])


def test_permutations(saved: Path, model: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["permute", str(saved), "Days", "--draws", "19", "--seed", "3"]) == 0
    assert capsys.readouterr().out.rstrip() == str(model.permutation_test("Days", 19, seed=3))


def test_many_responses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_dataset("sleepstudy")
    rng = np.random.default_rng(1)
    for j in range(3):
        data[f"gene{j}"] = data["Reaction"] + 10.0 * rng.normal(size=len(data))
    path, out = tmp_path / "genes.csv", tmp_path / "effects.csv"
    data.to_csv(path, index=False)
    given = ["many", "~ Days + (1 | Subject)", "--data", str(path), "--responses", "gene*"]
    assert main([*given, "--out", str(out)]) == 0
    found = fit_many("~ Days + (1 | Subject)", path, ["gene0", "gene1", "gene2"])
    written = pd.read_csv(out)
    assert written["response"].tolist() == found.frame["response"].tolist()
    np.testing.assert_allclose(written["p_value"], found.frame["p_value"])
    assert main([*given, "--top", "Days"]) == 0
    assert capsys.readouterr().out.rstrip() == str(found.top("Days"))
    assert main([*given, "--moderated"]) == 0
    assert "variances moderated" in capsys.readouterr().out


def test_columns_by_pattern() -> None:
    columns = ["y", "gene1", "gene10", "item[1]", "age"]
    assert chosen("gene*", columns) == ["gene1", "gene10"]
    assert chosen("y, gene?", columns) == ["y", "gene1"]
    assert chosen("item[1]", columns) == ["item[1]"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["power", "FIT", "--effect", "Days"], 2, "is not NAME=VALUE"),
        (["power", "FIT", "--effect", "Days=five"], 2, "is not NAME=NUMBER"),
        (["power", "FIT", "--effect", "Days=5", "--vary", "Subject"], 2, "is not NAME=VALUE"),
        (["power", "FIT", "--effect", "Day=5"], 1, "'Day'"),
        (["permute", "FIT", "Nights"], 1, "Nights"),
        (["many", "~ 1", "--data", "sleepstudy", "--responses", "gene*"], 1, "matches none"),
        (["bootstrap", "FIT", "--report", "page.txt"], 1, "html"),
    ],
)
def test_refusals(
    saved: Path, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(saved) if part == "FIT" else part for part in arguments]
    if code == 2:
        with pytest.raises(SystemExit) as stopped:
            main(given)
        assert stopped.value.code == 2
    else:
        assert main(given) == code
    assert said in capsys.readouterr().err

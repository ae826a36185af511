"""The command line, as a process and in-process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmmformula
from lmmformula import load_dataset
from lmmformula.cli import main

SLEEP = "Reaction ~ Days + (Days | Subject)"


def _process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmmformula.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300)


def test_help_is_quick_to_import() -> None:
    code = (
        "import sys\nfrom lmmformula.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'scipy', 'lark', 'narwhals'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "datasets" in out
    assert out.splitlines()[-1] == "[]"


def test_version() -> None:
    assert _process("--version").stdout.strip() == f"lmmformula {lmmformula.__version__}"


def test_fit_prints_the_summary() -> None:
    done = _process("fit", SLEEP, "--data", "sleepstudy")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Days           10.47       1.55 17.0    6.77 3.26e-06 ***" in done.stdout


def test_fit_predict_and_files(tmp_path: Path) -> None:
    data, saved, out = tmp_path / "sleep.csv", tmp_path / "sleep.lmm", tmp_path / "out.csv"
    load_dataset("sleepstudy").to_csv(data, index=False)
    assert _process("fit", SLEEP, "--data", str(data), "--save", str(saved)).returncode == 0
    done = _process("predict", str(saved), "--data", str(data), "--output", str(out))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    table = pd.read_csv(out)
    assert list(table.columns) == ["Reaction", "Days", "Subject", ".fit"]
    model = lmmformula.fit(SLEEP, load_dataset("sleepstudy"))
    np.testing.assert_allclose(table[".fit"], model.fittedvalues, rtol=1e-6)


def test_predict_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, new = tmp_path / "sleep.lmm", tmp_path / "new.csv"
    model = lmmformula.fit(SLEEP, load_dataset("sleepstudy"))
    model.save(saved)
    new.write_text("Days,Subject,note\n1,308,x\n2,new,y\n", encoding="utf-8")
    assert main(["predict", str(saved), "--data", str(new)]) == 1
    assert "new_levels" in capsys.readouterr().err
    assert main(["predict", str(saved), "--data", str(new), "--new-levels", "population"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0] == "Days,Subject,note,.fit"
    assert first[1].startswith("1,308,x,")
    assert (
        main(["predict", str(saved), "--data", str(new), "--re-form", "none", "--interval", "confidence"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Days,Subject,note,.fit,.lower,.upper"
    population = model.params["(Intercept)"] + model.params["Days"]
    assert float(lines[1].split(",")[3]) == pytest.approx(population)


def test_json_and_warnings() -> None:
    done = _process("fit", "Yield ~ 1 + (1 | Batch)", "--data", "Dyestuff2", "--json")
    assert done.returncode == 0
    record = json.loads(done.stdout)
    assert record["params"]["(Intercept)"] == pytest.approx(5.6656)
    assert record["varcorr"][0] == {
        "grp": "Batch",
        "var1": "(Intercept)",
        "var2": None,
        "vcov": 0.0,
        "sdcor": 0.0,
    }
    assert record["ngroups"] == {"Batch": 6}
    assert {"se", "df", "t", "p", "theta", "sigma", "llf", "deviance", "aic", "bic"} <= set(record)
    assert len(record["warnings"]) == 1
    assert done.stderr.startswith("lmmformula: warning: the fit is singular")
    assert done.stderr.count("\n") == 1


def test_method_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", "incidence ~ period + (1 | herd)", "--data", "cbpp", "--weights", "size"]
    assert main([*arguments, "--method", "ml", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    model = lmmformula.fit(
        "incidence ~ period + (1 | herd)", load_dataset("cbpp"), weights="size", method="ml"
    )
    assert record["method"] == "ML"
    assert record["llf"] == pytest.approx(model.llf)


def test_generalised_summary_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    formula = "count ~ mined + (1 | site)"
    arguments = ["fit", formula, "--data", "Salamanders", "--family", "nbinom2", "--method", "laplace"]
    more = ["--ziformula", "~ mined", "--dispformula", "~ DOY"]
    assert main([*arguments, *more]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Generalised linear mixed model fitted by Laplace approximation\n")
    assert "Zero inflation (logit scale):" in out
    assert main([*arguments, *more, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    model = lmmformula.fit(
        formula, load_dataset("Salamanders"), family="nbinom2", ziformula="~ mined", dispformula="~ DOY"
    )
    assert (record["family"], record["link"]) == ("zero_inflated_nbinom2", "log")
    assert record["llf"] == pytest.approx(model.llf)
    assert record["df"] is None
    assert record["t"] is None
    assert record["sigma"] is None
    assert record["z"]["minedno"] == pytest.approx(model.tvalues["minedno"])
    assert list(record["dispersion"]["params"].values()) == pytest.approx(list(model.estimate.aux[0]))
    assert list(record["zi"]["params"]) == ["(Intercept)", "minedno"]
    assert record["zi"]["se"]["minedno"] > 0


def test_quadrature(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["count ~ mined + (1 | site)", "--data", "Salamanders", "--family", "poisson", "--nagq", "5"]
    assert main(["fit", *arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["method"] == "adaptive quadrature, 5 nodes"
    assert (record["dispersion"], record["zi"], record["sigma"]) == (None, None, 1.0)
    assert main(["plan", *arguments]) == 0
    assert "Laplace" in capsys.readouterr().out
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--nagq", "5"]) == 1
    assert "nagq=5" in capsys.readouterr().err


def test_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "y ~ service + (1 | s) + (1 | d)", "--data", "InstEval"]) == 0
    out = capsys.readouterr().out
    assert "73,421 rows" in out
    assert "blocked" in out


def test_datasets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(lmmformula.dataset_names())
    assert main(["datasets", "cake"]) == 0
    assert "temperature  ordered: 175, 185, 195, 205, 215, 225 (6)" in capsys.readouterr().out
    assert main(["datasets", "cakes"]) == 1
    assert "cake" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "Reaction ~ Day + (1 | Subject)", "--data", "sleepstudy"], "`Day`"),
        (["fit", "Reaction ~ (Days |", "--data", "sleepstudy"], "^"),
        (["fit", "y ~ x + (1 | g)", "--data", "nothing.csv"], "neither a file nor a data set"),
        (["fit", "Reaction ~ 1 + (1 | Subject)", "--data", "sleepstudy", "--family", "nope"], "nope"),
        (["predict", "nothing.lmm", "--data", "sleepstudy"], "nothing.lmm"),
        (["fit", SLEEP, "--data", "sleepstudy", "--save", "no/such/folder/x.lmm"], "no/such/folder"),
    ],
)
def test_errors(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("lmmformula: error: ")
    assert said in err
    assert "Traceback" not in err


def test_a_file_that_is_no_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.lmm"
    other.write_text("hello", encoding="utf-8")
    assert main(["predict", str(other), "--data", "sleepstudy"]) == 1
    assert "not a saved fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["fit"], ["fit", "y ~ x"], ["cook"], ["fit", "y~x", "--method", "mle"]]
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close differently")
def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    saved, data = tmp_path / "m.lmm", tmp_path / "long.csv"
    frame = load_dataset("sleepstudy")
    lmmformula.fit(SLEEP, frame).save(saved)
    pd.concat([frame] * 100).to_csv(data, index=False)
    command = [sys.executable, "-m", "lmmformula.cli", "predict", str(saved), "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 0
    assert err == b""

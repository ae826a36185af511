"""The command line, as a process and in-process."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmmformula
from lmmformula import load_dataset
from lmmformula.cli import main
from lmmformula.cli.arguments import parser
from lmmformula.methods import METHODS

SLEEP = "Reaction ~ Days + (Days | Subject)"


COMMAND = [sys.executable, "-m", "lmmformula"]


def _process(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300
    )


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
    new.write_text("Days,Subject,w\n1,308,1\n1,308,4\n", encoding="utf-8")
    rest = ["--interval", "prediction", "--weights", "w", "--uncertainty", "full", "--seed", "1"]
    assert main(["predict", str(saved), "--data", str(new), *rest]) == 0
    one, four = (line.split(",") for line in capsys.readouterr().out.splitlines()[1:])
    assert float(one[5]) - float(one[4]) > 1.2 * (float(four[5]) - float(four[4]))


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
    command = [*COMMAND, "predict", str(saved), "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 0
    assert err == b""


def test_help_lists_every_method_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lmmformula.cli.arguments import parser; text = parser().format_help(); "
        "print(sorted({'numpy', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    fit_help = _process("fit", "--help").stdout
    assert all(method in fit_help for method in METHODS)


@pytest.fixture(scope="module")
def sleep_params() -> dict[str, float]:
    return lmmformula.fit(SLEEP, load_dataset("sleepstudy")).params.to_dict()


def test_csv_on_standard_input(sleep_params: dict[str, float]) -> None:
    text = load_dataset("sleepstudy").to_csv(index=False)
    done = _process("fit", SLEEP, "--data", "-", "--json", stdin=text)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["params"] == pytest.approx(sleep_params, rel=1e-9)
    assert record["converged"] is True
    empty = _process("fit", SLEEP, "--data", "-", stdin="")
    assert empty.returncode == 1
    assert "cannot read CSV from standard input (0 bytes)" in empty.stderr


@pytest.mark.parametrize("name", ["sleep.csv.gz", "sleep.parquet", "SLEEP.PARQUET"])
def test_compressed_and_parquet_files(
    name: str, sleep_params: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, frame = tmp_path / name, load_dataset("sleepstudy")
    if name.endswith("gz"):
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    else:
        frame.to_parquet(path)
    assert main(["fit", SLEEP, "--data", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == pytest.approx(sleep_params, rel=1e-9)


def test_parquet_in_and_out_as_a_process(tmp_path: Path) -> None:
    data, saved, out = tmp_path / "s.parquet", tmp_path / "s.lmm", tmp_path / "out.parquet"
    frame = load_dataset("sleepstudy").astype({"Subject": str})
    frame.to_parquet(data)
    assert _process("fit", SLEEP, "--data", str(data), "--save", str(saved), "--quiet").returncode == 0
    done = _process("predict", str(saved), "--data", str(data), "--se", "--out", str(out))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = pd.read_parquet(out)
    assert written["Days"].dtype == np.float64
    expected = lmmformula.load(saved).predict(frame, se=True)
    np.testing.assert_allclose(written[[".fit", ".se"]], expected, rtol=1e-12)


def test_predictions_as_json_from_standard_input(tmp_path: Path) -> None:
    saved = tmp_path / "s.lmm"
    model = lmmformula.fit(SLEEP, load_dataset("sleepstudy"))
    model.save(saved)
    new = "Days,Subject\n1,308\n2,new\n"
    done = _process("predict", str(saved), "--data", "-", "--new-levels", "population", "--json", stdin=new)
    assert done.returncode == 0, done.stderr
    fitted = model.predict({"Days": [1, 2], "Subject": ["308", "new"]}, new_levels="population")
    assert json.loads(done.stdout)["fit"] == list(fitted)
    echoed = _process("predict", str(saved), "--data", "-", "--new-levels", "na", stdin=new)
    assert echoed.stdout.splitlines()[2] == "2,new,"


def test_influence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, out = tmp_path / "sleep.lmm", tmp_path / "influence.csv"
    model = lmmformula.fit(SLEEP, load_dataset("sleepstudy"))
    model.save(saved)
    assert main(["influence", str(saved), "--group", "Subject"]) == 0
    assert "Influence of the levels of Subject" in capsys.readouterr().out
    expected = model.influence("Subject").frame["cooks_distance"]
    assert main(["influence", str(saved), "--group", "Subject", "--json", "--out", str(out)]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["unit"] == expected.index.tolist()
    np.testing.assert_allclose(seen["cooks_distance"], expected)
    table = pd.read_csv(out, dtype={"Subject": str}).set_index("Subject")
    np.testing.assert_allclose(table["cooks_distance"], expected)
    assert main(["influence", str(saved), "--out", str(out)]) == 0
    assert pd.read_csv(out).shape[0] == 180
    assert main(["influence", str(saved), "--group", "nope"]) == 1
    assert "`nope` is no grouping factor" in capsys.readouterr().err


def test_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, out = tmp_path / "oats.lmm", tmp_path / "pairs.csv"
    model = lmmformula.fit("Y ~ N * V + (1 | B/V)", load_dataset("oats_MASS"))
    model.save(saved)
    asked = ["means", str(saved), "pairwise ~ V", "--data", "oats_MASS", "--at", 'N=["0.0cwt", "0.6cwt"]']
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "adjusted by tukey" in shown
    expected = model.emmeans("pairwise ~ V", at={"N": ["0.0cwt", "0.6cwt"]}).contrasts
    assert expected is not None
    assert str(expected) in shown
    assert main([*asked, "--json", "--out", str(out), "--adjust", "none"]) == 0
    seen = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(seen["estimate"], expected.frame["estimate"])
    np.testing.assert_allclose(seen["p_value"], expected.tidy(adjust="none")["p_value"])
    assert pd.read_csv(out)["contrast"].tolist() == seen["contrast"]
    assert main(["means", str(saved), "nothing", "--data", "oats_MASS"]) == 1
    assert "no variable 'nothing'; it has N, V" in capsys.readouterr().err


def test_hypothesis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, out = tmp_path / "sleep.lmm", tmp_path / "tests.csv"
    model = lmmformula.fit(SLEEP, load_dataset("sleepstudy"))
    model.save(saved)
    asked = ["hypothesis", str(saved), "Days > 5", "exp(Days / 10) = 3"]
    expected = model.hypothesis(asked[2:])
    assert main(asked) == 0
    assert "Days > 5" in capsys.readouterr().out
    assert main([*asked, "--json", "--out", str(out)]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["hypothesis"] == asked[2:]
    np.testing.assert_allclose(seen["p_value"], expected["p_value"])
    np.testing.assert_allclose(pd.read_csv(out)["std_error"], expected["std_error"])
    assert main([*asked[:3], "--vcov", "CR2", "--cluster", "Subject"]) == 0
    assert "CR2, 18 clusters of Subject" in capsys.readouterr().out
    assert main([*asked[:2], "Days = sleep"]) == 1
    assert "no parameter 'sleep'" in capsys.readouterr().err


def test_errors_as_a_process() -> None:
    wrong = _process("fit", "Reaction ~ Days + (Days | Subject", "--data", "sleepstudy")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    lines = wrong.stderr.splitlines()
    formula = next(i for i, line in enumerate(lines) if "Reaction ~" in line)
    assert lines[formula + 1].index("^") == lines[formula].index("(")
    absent = _process("fit", SLEEP, "--data", "no/such/file.csv")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "no/such/file.csv" in absent.stderr
    unknown = _process("fit", "Reaction ~ Day + (1 | Subject)", "--data", "sleepstudy")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("lmmformula: error: no column `Day` in the data (did you mean `Days`?)")
    usage = _process("fit", SLEEP)
    assert (usage.returncode, usage.stdout) == (2, "")
    assert "--data" in usage.stderr


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = gzip.compress(load_dataset("sleepstudy").to_csv(index=False).encode())
    for name, content in (
        ("a.csv.gz", b"junk"),
        ("b.csv.gz", good[:200]),
        ("c.parquet", b"junk"),
        ("d.csv", b""),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert main(["fit", SLEEP, "--data", str(path)]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"lmmformula: error: cannot read {path}: ")


def test_not_converged_is_printed_saved_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "half.lmm"
    arguments = ["fit", SLEEP, "--data", "sleepstudy", "--option", "max_evaluations=1", "--save", str(saved)]
    assert main([*arguments, "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["converged"] is False
    assert err.startswith("lmmformula: warning: ")
    assert not lmmformula.load(saved).converged
    assert main([*arguments, "--quiet"]) == 3
    out, err = capsys.readouterr()
    assert "NOT CONVERGED" in out
    assert err == ""


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--option", "engine=dense", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engine"] == "dense"
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--option", "tol=1"]) == 1
    assert "unknown option 'tol'" in capsys.readouterr().err
    for option, said in (("family=poisson", "--family"), ("tolerance", "NAME=VALUE")):
        with pytest.raises(SystemExit) as exit_:
            main(["fit", SLEEP, "--data", "sleepstudy", "--option", option])
        assert exit_.value.code == 2
        assert said in capsys.readouterr().err


def test_values_of_options_and_priors() -> None:
    given = ["a=1", "b=1e-3", "c=true", "d=False", "e=null", "f=None", "g=[1, 2]", "h=text=more", 'i="1"']
    options = [part for text in given for part in ("--option", text)]
    priors = ["--prior", "b=normal(0, 5)", "--prior", "sd:Subject = half_normal(10)"]
    arguments = parser().parse_args(["fit", SLEEP, "--data", "x", *options, *priors])
    expected = {"a": 1, "b": 1e-3, "c": True, "d": False, "e": None, "f": None, "g": [1, 2], "h": "text=more"}
    assert dict(arguments.option) == {**expected, "i": "1"}
    assert dict(arguments.prior) == {"b": "normal(0, 5)", "sd:Subject": "half_normal(10)"}


def test_folders_are_checked_before_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    begun = ["fit", "no formula at all", "--data", "sleepstudy"]
    for flag in ("--save", "--report"):
        assert main([*begun, flag, "no/such/folder/x"]) == 1
        assert f"{flag} no/such/folder/x: the folder" in capsys.readouterr().err


def test_a_report_is_not_written_over_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--report", "sleep.csv"]) == 1
    assert "a report is a page of HTML; end its name in .html" in capsys.readouterr().err


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: str, word: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"y{mark}g\n1{mark}a\n2{mark}b\n", encoding="utf-8")
    assert main(["fit", "y ~ 1 + (1 | g)", "--data", str(path)]) == 1
    error = capsys.readouterr().err
    assert f"separated by {word}, and a .csv file is read by commas" in error
    assert ("name it .tsv" in error) == (mark == "\t")


def test_correction_is_an_option_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    begun = ["plan", "r2 ~ Anger + (1 | id) + (1 | item)", "--data", "VerbAgg", "--family", "binomial"]
    assert main([*begun, "--method", "pql", "--traces", "diagonal", "--correction", "laplace", "--json"]) == 0
    corrected = json.loads(capsys.readouterr().out)
    assert main([*begun, "--method", "pql", "--traces", "diagonal", "--json"]) == 0
    assert corrected["seconds"] > json.loads(capsys.readouterr().out)["seconds"]


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "incidence/size ~ period + (1 | herd)", "--data", "cbpp", "--weights", "size"]
    arguments += ["--family", "binomial", "--methods", "laplace,pql"]
    assert main(arguments) == 0
    assert "laplace" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["methods"]) == ["laplace", "pql"]
    rows = [r for r in record["table"] if (r["method"], r["term"]) == ("laplace", "period2")]
    model = lmmformula.fit(
        "incidence/size ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial", weights="size"
    )
    assert rows[0]["estimate"] == pytest.approx(model.params["period2"], rel=1e-9)
    with pytest.raises(SystemExit) as exit_:
        main([*arguments[:-1], "laplace,mle"])
    assert exit_.value.code == 2
    assert "'laplace,mle' is not a list of methods" in capsys.readouterr().err


def test_select(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "ranova", SLEEP, "--data", "sleepstudy", "--distribution", "mixture"]) == 0
    assert "chi2(1) and chi2(2), half and half" in capsys.readouterr().out
    assert main(["select", "drop1", SLEEP, "--data", "sleepstudy", "--test", "chisq", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["table"]
    assert [row["name"] for row in rows] == ["<none>", "Days"]
    assert rows[1]["LRT"] == pytest.approx(23.5365, abs=1e-3)
    folds = ["--by", "Subject", "--folds", "3", "--seed", "1", "--score", "elpd,rmse", "--json"]
    assert main(["select", "cross_validate", SLEEP, "--data", "sleepstudy", *folds]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["table"]] == ["elpd", "rmse"]
    assert found["measures"].startswith("rows of new levels of Subject")
    assert main(["select", "caic", SLEEP, "--data", "sleepstudy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["df"] == pytest.approx(31.2535, abs=1e-3)
    assert main(["select", "repca", SLEEP, "--data", "sleepstudy"]) == 0
    assert "Every direction has a variance above zero." in capsys.readouterr().out
    assert main(["select", "ranova", SLEEP, "--data", "sleepstudy", "--by", "Subject"]) == 1
    assert "--by is a flag of cross_validate, not of ranova" in capsys.readouterr().err


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.html"
    assert main(["fit", SLEEP, "--data", "sleepstudy", "--report", str(path)]) == 0
    assert "Linear mixed model fitted by REML" in capsys.readouterr().out
    text = path.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert "Reaction ~ Days" in re.sub("<[^>]*>", "", text)  # each word stands in its own element


def test_plan_and_data_sets_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", SLEEP, "--data", "sleepstudy", "--seed", "3", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["method"], plan["n"], plan["terms"][0]["levels"]) == ("reml", 180, 18)
    assert main(["datasets", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(lmmformula.dataset_names())
    assert main(["datasets", "cake", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 270
    assert main(["datasets", "sleepstudy", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], len(lines)) == ("Reaction,Days,Subject", 181)


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_an_interrupt_is_one_line() -> None:
    command = [*COMMAND, "fit", SLEEP, "--data", "-"]
    pipe = subprocess.PIPE
    # Something to read by before the rest of the table: the process is at work when the signal comes.
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for _ in range(100):  # more than a pipe holds: returns when the command reads
            process.stdin.write(b"Reaction,Days,Subject\n" * 100)
            process.stdin.flush()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(timeout=60) == 130
        assert err == b"lmmformula: interrupted\n"


@pytest.fixture(scope="module")
def sleep_saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "sleep.lmm"
    lmmformula.fit(SLEEP, load_dataset("sleepstudy")).save(path)
    return path


@pytest.mark.parametrize("name", ["new.json", "new.jsonl"])
def test_rows_from_json(
    sleep_saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    records = load_dataset("sleepstudy").astype({"Subject": str}).to_dict("records")
    text = "\n".join(map(json.dumps, records)) if name.endswith("l") else json.dumps(records)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["fit", SLEEP, "--data", str(tmp_path / name), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = lmmformula.load(sleep_saved)
    assert (found["nobs"], found["ngroups"]) == (180, {"Subject": 18})
    assert list(found["params"].values()) == pytest.approx(list(wanted.params), rel=1e-9)
    assert main(["predict", str(sleep_saved), "--data", str(tmp_path / name)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Reaction,Days,Subject,.fit"
    assert float(lines[1].split(",")[-1]) == pytest.approx(wanted.fittedvalues.iloc[0])


def test_predictions_into_json(sleep_saved: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    new.write_text('Days,Subject,note\n1,308,"a ""b"""\n2,new,\n', encoding="utf-8")
    expected = lmmformula.load(sleep_saved).predict(str(new), new_levels="na")
    for name, read in (
        ("p.json", json.loads),
        ("p.jsonl", lambda text: [json.loads(line) for line in text.splitlines()]),
    ):
        out = tmp_path / name
        command = ["predict", str(sleep_saved), "--data", str(new), "--new-levels", "na", "--out", str(out)]
        assert main(command) == 0
        records = read(out.read_text(encoding="utf-8"))
        assert records == [
            {"Days": 1, "Subject": "308", "note": 'a "b"', ".fit": expected.iloc[0]},
            {"Days": 2, "Subject": "new", "note": None, ".fit": None},
        ]


@pytest.mark.parametrize("name", ["p.xlsx", "p.json.gz", "p.feather"])
def test_a_table_of_another_format_is_refused(
    name: str, sleep_saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    assert main(["predict", str(sleep_saved), "--data", "sleepstudy", "--out", str(out)]) == 1
    assert f"no table is written as {out.suffix}" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("formula=y", "first argument"),
        ("data=x.csv", "--data"),
        ("progress=true", "--quiet"),
        ('context={"a": 1}', "in Python"),
        (f"start={'[' * 100_000}", "nested too deeply"),
    ],
    ids=lambda text: text[:9],
)
def test_options_that_are_none(option: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["fit", SLEEP, "--data", "sleepstudy", "--option", option])
    assert exit_.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize(
    ("streams", "code"),
    [(">&-", 0), ("--json >&-", 0), (">&- 2>&-", 0), (">/dev/full", 1), ("--data - <&-", 1)],
)
def test_streams_that_are_closed_or_full(streams: str, code: int) -> None:
    command = f"{sys.executable} -m lmmformula fit 'Yield ~ 1 + (1 | Batch)' --data Dyestuff {streams}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == code  # a line that says why, or nothing


def test_characters_that_standard_output_lacks(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    data.write_text("größe,g\n1,a\n2,a\n3,b\n4.5,b\n5,c\n7,c\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    fitted = [*COMMAND, "fit", "größe ~ 1 + (1 | g)", "--data", str(data), "-q"]
    done = subprocess.run(fitted, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"Formula: gr\xf6\xdfe ~ 1 + (1 | g)" in done.stdout
    saved = tmp_path / "m.lmm"
    lmmformula.fit("größe ~ 1 + (1 | g)", data).save(saved)
    table = [*COMMAND, "predict", str(saved), "--data", str(data), "-q"]
    written = subprocess.run(table, capture_output=True, check=False, env=environment)
    assert written.stdout.decode("utf-8").startswith("größe,g,.fit")  # data stay data

"""The protocol of maketables: by its description, and through the package."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit, load_dataset


@pytest.fixture(scope="module")
def sleep_fit():
    return fit("log(Reaction) ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def herd_fit():
    return fit(
        "incidence/size ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial", weights="size"
    )


def test_coefficients(sleep_fit) -> None:
    table = sleep_fit.__maketables_coef_table__
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns[:4]) == ["b", "se", "t", "p"]
    assert list(table.index) == ["(Intercept)", "Days"]
    assert all(dtype.kind == "f" for dtype in table.dtypes)
    np.testing.assert_array_equal(table["b"], sleep_fit.params)
    np.testing.assert_array_equal(table["p"], sleep_fit.pvalues)
    limits = sleep_fit.conf_int(level=0.9)
    assert table.loc["Days", "ci90l"] == limits.iloc[1, 0]
    assert table.loc["Days", "ci90u"] == limits.iloc[1, 1]
    assert np.all(table["ci95l"].to_numpy() < table["ci90l"].to_numpy())


def test_statistics(sleep_fit, herd_fit) -> None:
    stat = sleep_fit.__maketables_stat__
    assert stat("N") == 180
    assert stat("ll") == sleep_fit.llf
    assert stat("Groups: Subject") == 18
    assert stat("SD: Subject, Days") == sleep_fit.varcorr()["sdcor"][1]
    assert stat("SD: Residual") == sleep_fit.sigma
    assert stat("r2_conditional") == sleep_fit.r2()["conditional"]
    assert stat("se_type") == "model-based"
    assert stat("nonsense") is None
    assert stat("r2") is None
    assert all(stat(key) is not None for key in sleep_fit.__maketables_stat_labels__)
    for model in (sleep_fit, herd_fit):
        keys = model.__maketables_default_stat_keys__
        assert all(model.__maketables_stat__(key) is not None for key in keys)
    assert "SD: Residual" not in herd_fit.__maketables_default_stat_keys__


def test_names(sleep_fit, herd_fit) -> None:
    assert sleep_fit.__maketables_depvar__ == "log(Reaction)"
    assert herd_fit.__maketables_depvar__ == "incidence/size"
    assert set(sleep_fit.__maketables_vcov_info__) == {"vcov_type", "clustervar"}


def test_a_quasi_likelihood_has_no_likelihood(herd_fit) -> None:
    pql = herd_fit.update(method="pql")
    assert pql.__maketables_stat__("ll") is None
    assert "ll" not in pql.__maketables_default_stat_keys__


def test_only_the_protocol_is_seen(sleep_fit) -> None:
    view = sleep_fit.to_maketables()
    assert not hasattr(view, "params")
    assert view.__maketables_stat__("N") == 180
    pd.testing.assert_frame_equal(view.__maketables_coef_table__, sleep_fit.__maketables_coef_table__)


def test_errors_by_clusters(sleep_fit) -> None:
    view = sleep_fit.to_maketables(vcov="CR2", cluster="Subject")
    assert view.__maketables_vcov_info__ == {"vcov_type": "CR2", "clustervar": "Subject"}
    assert view.__maketables_stat__("se_type") == "CR2, 18 clusters of Subject"
    assert view.__maketables_stat__("N") == 180
    table = view.__maketables_coef_table__
    np.testing.assert_allclose(table["se"], np.sqrt(np.diagonal(sleep_fit.cov_params("CR2"))), rtol=1e-12)
    tidy = sleep_fit.tidy("fixed", vcov="CR2", conf_int=True, level=0.9)
    np.testing.assert_allclose(table["p"], tidy["p_value"], rtol=1e-12)
    np.testing.assert_allclose(table["ci90u"], tidy["conf_high"], rtol=1e-12)


@pytest.mark.filterwarnings("ignore")  # warnings of the packages that it draws with
def test_through_the_package(sleep_fit, herd_fit) -> None:
    maketables = pytest.importorskip("maketables")
    views = [sleep_fit.to_maketables(), herd_fit.to_maketables()]
    assert type(maketables.get_extractor(views[0])).__name__ == "PluginExtractor"
    text = maketables.ETable(views).make("tex")
    assert "log(Reaction)" in text
    assert f"{sleep_fit.params['Days']:.3f}" in text
    assert f"{herd_fit.params['period2']:.3f}" in text
    for label in (
        "Groups: Subject",
        "SD: Subject, Days",
        "SD: Residual",
        "Groups: herd",
        "SD: herd, (Intercept)",
    ):
        assert label in text
    assert "incidence" in text

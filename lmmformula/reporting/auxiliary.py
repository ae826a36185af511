"""The auxiliary parameters of generalised models, as a summary shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.inference.coefficients import auxiliary_tables, components
from lmmformula.reporting.contents import AuxiliaryPart
from lmmformula.reporting.tables import pairwise

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["auxiliary_parts", "structure_parts"]


def auxiliary_parts(fit: Fitted) -> tuple[AuxiliaryPart, ...]:
    """The auxiliary parameters as a summary shows them."""
    out = []
    tables = auxiliary_tables(fit)
    for j, component in enumerate(components(fit)):
        record, estimates = fit.problem.family.auxiliaries[j], fit.estimate.aux[j]
        title = record.title or ("Dispersion" if record.is_scale else component)
        if record.table:
            if all(component != own for own in components(fit)[:j]):
                out.append(AuxiliaryPart(record.table.capitalize(), None, tables[component]))
            continue
        of_zeros = j == fit.problem.family.zeros_at
        meaning = ", ".join(part for part in ("" if of_zeros else record.name, record.meaning) if part)
        if fit.problem.aux[j].is_constant:
            note = f"{record.linked(record.name)} = {_with_error(tables[component])}"
            out.append(AuxiliaryPart(f"{title} ({meaning})", float(record.value(estimates[0])), None, note))
        else:
            link = record.link if record.linked("") == f"{record.link}()" else record.linked(record.name)
            scale = f"{link} scale" if of_zeros else f"{link} scale; {meaning}"
            out.append(AuxiliaryPart(f"{title} ({scale})", None, tables[component]))
    return (*out, *_quasi_dispersion(fit))


def structure_parts(fit: Fitted) -> tuple[AuxiliaryPart, ...]:
    """The structure of residuals: correlations and deviations, then coefficients of log sigma."""
    import pandas as pd

    known, residual = fit.inference.structure_parameters(), fit.problem.residual
    if residual is None:
        return ()
    if not known and residual.label:
        title = f"Residual covariance ({residual.label})"
        return (AuxiliaryPart(title, fit.sigma**2, None, "times the known matrix"),)
    out = []
    for title, of_sigma in ((residual.label, False), ("log sigma", True)):
        own = [p for p in known if (p.group == "sigma") == of_sigma]
        if own:
            values = {"Estimate": [p.spread.value for p in own], "Std. Error": [p.spread.error for p in own]}
            table = pd.DataFrame(values, index=[p.name for p in own])
            out.append(AuxiliaryPart(f"Residual structure ({title})", None, table))
    return tuple(out)


def _with_error(table: pd.DataFrame) -> str:
    """``0.732, SE 0.112`` of the first row: the estimate alone where there is no standard error."""
    value, error = pairwise(table["Estimate"].tolist(), table["Std. Error"].tolist())[0]
    return value if error == "NA" else f"{value}, SE {error}"


def _quasi_dispersion(fit: Fitted) -> list[AuxiliaryPart]:
    """phi of a quasi-likelihood, of a family that has no parameter of its own."""
    if not (how := fit.inference.dispersion_is) or fit.problem.family.auxiliaries:
        return []
    return [AuxiliaryPart("Dispersion (phi)", fit.estimate.sigma**2, None, how)]

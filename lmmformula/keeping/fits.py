"""A fit to a file and back, with the functions that its formula calls given anew."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmmformula.errors import DataError, LmmformulaError, warn
from lmmformula.inference.leaving import known_of, lasting_source, left_rows
from lmmformula.ir.frozen import evolved
from lmmformula.keeping import container
from lmmformula.keeping.codec import Decoder, Encoder
from lmmformula.keeping.refusal import CodecError

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.streamed.left import LeftRows


__all__ = ["Given", "read_fit", "write_fit"]


@dataclass(frozen=True, slots=True)
class Given:
    """In a file, the place of a function that whoever reads it gives."""

    name: str


_LIVING: weakref.WeakValueDictionary[str, Fitted] = weakref.WeakValueDictionary()
"""Fits by the mark of the files they were saved to: as long as one lives, its functions are at hand."""


def write_fit(fit: Fitted, path: str | Path) -> None:
    """Write a fit without its data.

    Raises
    ------
    LmmformulaError
        If it holds something that a file cannot, such as a family of the user's own.

    Warns
    -----
    LmmformulaWarning
        If the formula calls functions of the user's: they stay out, and the warning names them. If labels of the rows are of
        a type that a file cannot hold: the file then has the rows' positions.
    """
    from lmmformula.version import __version__

    recipe, recall, left = fit.problem.recipe, fit.recall, {}
    if recipe is not None and getattr(recipe, "context", ()):
        recipe = recipe.with_context(tuple((n, _kept(n, v, left)) for n, v in recipe.context))
    asks = tuple(left)
    arguments = dict(recall.arguments)
    if arguments.get("context"):
        arguments["context"] = {name: _kept(name, v, left) for name, v in arguments["context"].items()}
    bare = replace(
        fit,
        problem=replace(fit.problem, recipe=recipe, labels=_labels(fit.problem.labels), held=_held(fit)),
        point=None,
        twin=None,
        recall=replace(recall, data=None, arguments=arguments, source=lasting_source(recall.source)),
    )
    encode, mark = Encoder(), secrets.token_hex(8)
    try:
        content = encode(bare)
        container.write(path, container.Content(content, encode.arrays, asks, mark, __version__))
    except CodecError as error:
        raise LmmformulaError(
            f"the fit cannot be saved: {error}. Keep it with pickle.dumps(fit) instead, where that class can be imported again."
        ) from error
    except RecursionError as error:
        raise LmmformulaError("the fit cannot be saved: its formula is nested too deeply.") from error
    if asks:
        _LIVING[mark] = fit
        warn(
            f"saved without {_named(asks)}, given as context= and no part of a file: read it with "
            f"load({str(path)!r}, context={_call(asks)}).",
        )


def read_fit(path: str | Path, context: Mapping[str, object] | None = None) -> Any:
    """Read what :func:`write_fit` wrote.

    Raises
    ------
    LmmformulaError
        If the file is foreign, truncated, damaged, or of another format.
    DataError
        If the formula calls functions that `context` lacks.
    """
    content = container.read(path)
    given = dict(_context_of(_LIVING.get(content.mark))) | dict(context or {})
    if missing := [name for name in content.asks if name not in given]:
        raise DataError(
            f"{path}: the formula calls {_named(missing)}, given as context= when it was fitted; a file holds no functions. "
            f"Give the same again: load({str(path)!r}, context={_call(missing)})."
        )
    try:
        fit = Decoder(content.arrays)(content.fit)
        return _with_functions(fit, given)
    except (CodecError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        from lmmformula.version import __version__

        raise LmmformulaError(
            f"{path} cannot be read by lmmformula {__version__}: it was written by {content.package} and holds {error}. "
            "Install that version to read it, or fit again."
        ) from error


def _with_functions(fit: Any, given: Mapping[str, object]) -> Any:
    if type(fit).__qualname__ != "Fit":
        raise CodecError(f"a {type(fit).__name__} in place of a fit")
    problem, recall = fit.problem, fit.recall
    if problem.recipe is not None and problem.recipe.context:
        entries = tuple((n, given[n] if isinstance(v, Given) else v) for n, v in problem.recipe.context)
        problem = replace(problem, recipe=problem.recipe.with_context(entries))
    if recall.arguments.get("context"):
        kept = {n: v for n, v in recall.arguments["context"].items() if not isinstance(v, Given)}
        recall = replace(recall, arguments={**recall.arguments, "context": {**kept, **given}})
    return evolved(fit, (), known_of(fit), problem=problem, recall=recall)


def _context_of(fit: Fitted | None) -> Mapping[str, object]:
    return {} if fit is None else fit.recall.arguments.get("context") or dict(fit.problem.recipe.context)


def _held(fit: Fitted) -> LeftRows | None:
    return None if fit.problem.held is None else left_rows(fit)


def _labels(labels: pd.Index | None) -> pd.Index | None:
    """Labels of the rows if they come back from a file as they went in."""
    if labels is None:
        return None
    encode = Encoder()
    with suppress(CodecError, TypeError, ValueError):
        if labels.equals(Decoder(encode.arrays)(encode(labels))):
            return labels
    warn(
        f"saved without the labels of the rows, which a file cannot hold ({type(labels).__name__} of {labels.dtype}): results "
        "of the loaded fit count the rows of the data from 0.",
    )
    return None


def _kept(name: str, value: object, left: dict[str, None]) -> object:
    """The value if a file can hold it; else its place, with its name noted in `left`."""
    try:
        Encoder()(value)
    except CodecError:
        left[name] = None
        return Given(name)
    return value


def _named(names: Sequence[str]) -> str:
    several = "the functions " if len(names) > 1 else "the function "
    return several + ", ".join(f"`{name}`" for name in names)


def _call(names: Sequence[str]) -> str:
    return "{" + ", ".join(f"{name!r}: ..." for name in names) + "}"

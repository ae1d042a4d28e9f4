"""`doorstep-edge faces calibrate`: how often faces are mixed up and missed on a folder of known people.

For a technician who wants to know what the thresholds mean for pictures like theirs. What is printed holds rates and
counts; a picture's path appears only in the line that says why it was left out.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from edge.cli.root import Home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge.vision.faces.calibration import Identification, PairScores, Recommendation, Sample
    from edge.vision.faces.portraits import Pair, PortraitFile, PortraitReader

FALSE_ACCEPTS: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FALSE_POSITIVES: Final = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
SHOWN: Final = (0.01, 0.003)
PICTURES_MAX: Final = 20_000
"""LFW has 13,233; with more, comparing each with each takes minutes."""


class Accepts(msgspec.Struct, frozen=True, kw_only=True):
    """True accepts at a rate of false ones, and the cosine; or why it is not known."""

    far: float
    tar: float | None = None
    cosine: float | None = None
    refused: str | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Is this the one it is said to be: pairs of one person against pairs of two, whose cosines have `other_mean` and
    `other_deviation` (what `STRANGERS` in edge/core/match.py is to another embedder).

    `accuracy`, its `deviation` and `folds` are LFW's figure, for a list of pairs in folds only.
    """

    pairs_same: int
    pairs_other: int
    other_mean: float
    other_deviation: float
    tar_at_far: list[Accepts]
    roc: list[Accepts]
    pairs_missing: int = 0
    accuracy: float | None = None
    deviation: float | None = None
    folds: int | None = None


class Misses(msgspec.Struct, frozen=True, kw_only=True):
    """Members missed at a rate of strangers taken for somebody, as the product scores and by plain cosine; None where
    the strangers are too few for the rate. `deviation` is over the splits."""

    fpir: float
    fnir: float | None
    deviation: float | None
    fnir_cosine: float | None
    deviation_cosine: float | None


class Searches(msgspec.Struct, frozen=True, kw_only=True):
    """Who is this: members enrolled with `templates` pictures, searched with `frames`; or why that was not tried."""

    templates: int
    frames: int
    enrolled: int = 0
    member_searches: int = 0
    stranger_searches: int = 0
    splits: int = 0
    fnir_at_fpir: list[Misses] = []
    refused: str | None = None


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """The threshold for the wanted rate at the wanted gallery, in deviations and as the cosine it is on the average.

    `low` and `high`: 95 % of drawing the people anew. `low_binomial` and `high_binomial`: of independent comparisons.
    `shipped` is what the product asks for at this budget. Or why none is recommended, and `carried`, the lowest rate at
    this gallery for which one would be.
    """

    frames: int
    false_positives: float
    gallery: int
    shipped: float
    deviations: float | None = None
    cosine: float | None = None
    low: float | None = None
    high: float | None = None
    low_binomial: float | None = None
    high_binomial: float | None = None
    false_matches: float | None = None
    comparisons: int | None = None
    errors: int | None = None
    carried: float | None = None
    refused: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    people: int
    pictures: int
    left_out: int
    verification: Verification
    identification: list[Searches]
    thresholds: list[Threshold]


def command(models_of: Callable[[Path | None], Path]) -> Callable[..., None]:
    """The command, told where the weights of a device's folder are."""

    def calibrate(
        images: Annotated[Path, typer.Option(help="A folder with one sub-folder of pictures a person.")],
        pairs: Annotated[Path | None, typer.Option(help="Pairs to verify, in the format of LFW's pairs.txt.")] = None,
        plot: Annotated[Path | None, typer.Option(help="Draw the curves into this SVG file.")] = None,
        false_positives: Annotated[
            float, typer.Option(min=1e-6, max=0.5, help="Wanted share of strangers taken for a member.")
        ] = 0.003,
        gallery: Annotated[int, typer.Option(min=1, max=100_000, help="Members enrolled at the door.")] = 480,
        splits: Annotated[int, typer.Option(min=1, max=1000, help="Random splits that misses are the mean of.")] = 20,
        seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same splits.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
        home: Home = None,
    ) -> None:
        """Measure error rates on known people, and the threshold for a wanted rate and gallery.

        Pictures that cannot be used are named on standard error and left out. Exit code 1 when nothing can be measured.
        """
        wanted = _Wanted(false_positives=false_positives, gallery=gallery, splits=splits, seed=seed)
        listed = None if pairs is None else _listed(pairs)
        report = _report(*_collected(images, models_of(home)), listed, wanted)
        if as_json:
            typer.echo(msgspec.json.encode(report))
        else:
            for line in _readable(report):
                typer.echo(line)
        if plot is not None:
            _draw(report, plot)

    return calibrate


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the technician asks for."""

    false_positives: float
    gallery: int
    splits: int
    seed: int


def _stop(reason: str) -> typer.Exit:
    """Says why nothing can be measured; the exit to raise."""
    typer.echo(f"faces calibrate: {reason}", err=True)
    return typer.Exit(1)


def _listed(path: Path) -> "tuple[Pair, ...]":
    from edge.vision.faces.portraits import PAIRS_BYTES_MAX, PairsFault, parse_pairs

    try:
        with path.open("rb") as file:
            found: tuple[Pair, ...] | PairsFault = parse_pairs(file.read(PAIRS_BYTES_MAX + 1))
    except OSError as fault:
        raise _stop(f"{path} cannot be read: {fault.strerror}") from fault
    if isinstance(found, PairsFault):
        raise _stop(f"{path}: {found}")
    return found


# --- from pictures to numbers -----------------------------------------------------------------------------------------


def _collected(images: Path, models: Path) -> "tuple[list[PortraitFile], Sample, int]":
    """The pictures that were used, what they came to, and how many were left out."""
    import numpy as np

    from edge.vision.faces.calibration import Sample
    from edge.vision.faces.portraits import by_person
    from edge.vision.pictures import portraits_under

    found = portraits_under(images)
    for path, fault in found.faults:
        typer.echo(f"{path}: {fault}", err=True)
    if len(found.paths) > PICTURES_MAX:
        raise _stop(f"{images} has {len(found.paths)} pictures, at most {PICTURES_MAX} are compared")
    files = by_person(images, found.paths)
    if len({file.person for file in files}) < 2:
        raise _stop(f"{images} has fewer than two sub-folders with pictures: one a person is expected")
    used, vectors = _embedded(files, _reader(models))
    people = sorted({file.person for file in used})
    if len(people) < 2:
        raise _stop(f"pictures of {len(people)} people could be used, two are the least")
    rows = {person: place for place, person in enumerate(people)}
    sample = Sample(people=np.array([rows[file.person] for file in used], np.intp), vectors=np.stack(vectors))
    return used, sample, len(files) - len(used)


def _reader(models: Path) -> "PortraitReader":
    from edge.vision.faces.detector import Detector
    from edge.vision.faces.embedder import Embedder
    from edge.vision.faces.portraits import PortraitReader
    from edge.vision.faces.quality import QualityLimits
    from edge.vision.faces.weights import Role, Weights, answer_of_detector, answer_of_embedder

    weights = Weights(models)
    detector, embedder = Detector(weights.load(Role.DETECTOR)), Embedder(weights.load(Role.EMBEDDER))
    weights.check_known_answers(
        {Role.DETECTOR: answer_of_detector(detector), Role.EMBEDDER: answer_of_embedder(embedder)}
    )
    # the door looks at no smaller face either
    return PortraitReader(detector, embedder, eyes_px_min=QualityLimits().eyes_px_min)


def _embedded(
    files: "tuple[PortraitFile, ...]", reader: "PortraitReader"
) -> "tuple[list[PortraitFile], list[NDArray[np.float32]]]":
    used, vectors = [], []
    for file in files:
        vector = reader.read(file.path)
        if isinstance(vector, str):
            typer.echo(f"{file.path}: {vector}", err=True)
        else:
            used.append(file)
            vectors.append(vector)
    return used, vectors


# --- from numbers to rates --------------------------------------------------------------------------------------------


def _report(
    used: "list[PortraitFile]", sample: "Sample", left_out: int, listed: "tuple[Pair, ...] | None", wanted: _Wanted
) -> Report:
    from edge.vision.faces.calibration import score_pairs

    verification = _verified(score_pairs(sample)) if listed is None else _verified_list(used, sample, listed)
    return Report(
        people=sample.count,
        pictures=len(used),
        left_out=left_out,
        verification=verification,
        identification=[_searched(sample, wanted, templates, frames) for templates in (1, 3) for frames in (1, 3)],
        thresholds=[_threshold(sample, wanted, frames) for frames in (1, 3)],
    )


def _verified(scores: "PairScores") -> Verification:
    from edge.vision.faces.calibration import TooFew, accept_rate, roc

    rates = []
    for far in FALSE_ACCEPTS:
        found = accept_rate(scores, far)
        if isinstance(found, TooFew):
            rates.append(Accepts(far=far, refused=str(found)))
        else:
            rates.append(Accepts(far=far, tar=found.true_accepts, cosine=found.threshold))
    curve = [Accepts(far=p.false_accepts, tar=p.true_accepts, cosine=p.threshold) for p in roc(scores)]
    mean, deviation = scores.spread
    return Verification(
        pairs_same=len(scores.same),
        pairs_other=scores.comparisons,
        other_mean=mean,
        other_deviation=deviation,
        tar_at_far=rates,
        roc=curve,
    )


def _verified_list(used: "list[PortraitFile]", sample: "Sample", listed: "tuple[Pair, ...]") -> Verification:
    import numpy as np

    from edge.vision.faces.calibration import TooFew, accuracy, listed_pairs

    rows = {(file.person, file.number): row for row, file in enumerate(used)}
    there = [pair for pair in listed if pair.first in rows and pair.second in rows]
    if all(pair.is_same for pair in there):
        raise _stop("no pair of two people in the list names pictures that could be used")
    first, second = ([rows[end] for end in ends] for ends in zip(*((p.first, p.second) for p in there), strict=True))
    scores = np.asarray(np.sum(sample.vectors[first] * sample.vectors[second], axis=1), np.float32)
    same = np.array([pair.is_same for pair in there])
    judged = accuracy(scores, same, np.array([pair.fold for pair in there], np.intp))
    verified = msgspec.structs.replace(_verified(listed_pairs(scores, same)), pairs_missing=len(listed) - len(there))
    if isinstance(judged, TooFew):
        return verified
    return msgspec.structs.replace(verified, accuracy=judged.mean, deviation=judged.deviation, folds=judged.folds)


def _searched(sample: "Sample", wanted: _Wanted, templates: int, frames: int) -> Searches:
    from edge.vision.faces.calibration import TooFew, identify

    found: Identification | TooFew = identify(
        sample, templates=templates, frames=frames, rates=FALSE_POSITIVES, splits=wanted.splits, seed=wanted.seed
    )
    if isinstance(found, TooFew):
        return Searches(templates=templates, frames=frames, refused=str(found))
    return Searches(
        templates=templates,
        frames=frames,
        enrolled=found.enrolled,
        member_searches=found.member_searches,
        stranger_searches=found.stranger_searches,
        splits=found.splits,
        fnir_at_fpir=[
            Misses(
                fpir=ours.false_positives,
                fnir=ours.misses,
                deviation=ours.deviation,
                fnir_cosine=plain.misses,
                deviation_cosine=plain.deviation,
            )
            for ours, plain in zip(found.normalised, found.cosine, strict=True)
        ],
    )


def _threshold(sample: "Sample", wanted: _Wanted, frames: int) -> Threshold:
    from edge.core.match import STRANGERS, MatchTerms, grant_threshold
    from edge.vision.faces.calibration import TooFew, lowest_rate, recommend

    terms = MatchTerms(false_positives_ppm=round(1e6 * wanted.false_positives))
    asked = Threshold(
        frames=frames,
        false_positives=wanted.false_positives,
        gallery=wanted.gallery,
        shipped=grant_threshold(terms, enrolled=wanted.gallery, probes=frames),
    )
    found: Recommendation | TooFew = recommend(
        sample, frames=frames, false_positives=wanted.false_positives, enrolled=wanted.gallery, seed=wanted.seed
    )
    if isinstance(found, TooFew):
        carried = lowest_rate(found.have, wanted.gallery)
        return msgspec.structs.replace(asked, refused=str(found), carried=carried)
    return msgspec.structs.replace(
        asked,
        deviations=found.threshold,
        cosine=STRANGERS.mean + STRANGERS.deviation * found.threshold,
        low=found.resampled.low,
        high=found.resampled.high,
        low_binomial=found.binomial.low,
        high_binomial=found.binomial.high,
        false_matches=found.false_matches,
        comparisons=found.comparisons,
        errors=found.errors,
    )


# --- for people -------------------------------------------------------------------------------------------------------


def _readable(report: Report) -> Iterator[str]:
    yield f"{report.pictures} pictures of {report.people} people, {report.left_out} left out"
    verified = report.verification
    yield (
        f"pairs: {verified.pairs_same:,} of one person, {verified.pairs_other:,} of two, cosine"
        f" {verified.other_mean:.3f} with a deviation of {verified.other_deviation:.3f}"
    )
    if verified.pairs_missing:
        yield f"  {verified.pairs_missing} pairs of the list name pictures that are not there"
    if verified.accuracy is not None:
        yield f"  right {_percent(verified.accuracy)}, {verified.folds} folds"
    for rate in verified.tar_at_far:
        told = rate.refused or f"accepted {_percent(rate.tar)}, cosine above {rate.cosine:.3f}"
        yield f"  false accepts {rate.far:g}: {told}"
    for searches in report.identification:
        yield from _readable_searches(searches)
    for threshold in report.thresholds:
        yield _readable_threshold(threshold)


def _readable_searches(searches: Searches) -> Iterator[str]:
    name = f"{searches.templates} enrolled, {searches.frames} searched with"
    if searches.refused:
        yield f"{name}: {searches.refused}"
        return
    yield (
        f"{name}: {searches.enrolled} members, {searches.member_searches} searches of members and"
        f" {searches.stranger_searches} of strangers, {searches.splits} splits"
    )
    for rate in searches.fnir_at_fpir:
        if rate.fpir in SHOWN:
            told = "too few strangers" if rate.fnir is None else f"missed {_percent(rate.fnir)}"
            plain = "" if rate.fnir_cosine is None else f" (plain cosine {_percent(rate.fnir_cosine)})"
            yield f"  strangers taken for somebody {rate.fpir:g}: {told}{plain}"


def _readable_threshold(threshold: Threshold) -> str:
    wanted = (
        f"threshold, {threshold.frames} searched with, {threshold.gallery} enrolled,"
        f" strangers taken for somebody {threshold.false_positives:g}: "
    )
    if threshold.refused:
        carried = "" if threshold.carried is None else f" the lowest rate these carry is {threshold.carried:.2g};"
        return (
            f"{wanted}none recommended, {threshold.refused};{carried} the product asks for"
            f" {threshold.shipped:.2f} deviations"
        )
    return (
        f"{wanted}{threshold.deviations:.2f} deviations ({threshold.low:.2f} to {threshold.high:.2f}, 95 %), about"
        f" cosine {threshold.cosine:.3f}; the product asks for {threshold.shipped:.2f}"
    )


def _percent(rate: float | None) -> str:
    return "nothing" if rate is None else f"{100 * rate:.2f} %"


def _draw(report: Report, path: Path) -> None:
    from edge.cli.curves import Curve, drawing

    roc = tuple((point.far, 1 - point.tar) for point in report.verification.roc if point.tar is not None)
    curves = [Curve(name="1:1, false accepts", points=roc)]
    for searches in report.identification:
        points = tuple((rate.fpir, rate.fnir) for rate in searches.fnir_at_fpir if rate.fnir is not None)
        curves.append(Curve(name=f"1:N, {searches.templates} enrolled, {searches.frames} searched", points=points))
    drawn = drawing(
        "Missed against mixed up",
        "strangers taken for somebody, or pairs of two for one",
        "missed",
        [curve for curve in curves if curve.points],
    )
    try:
        path.write_text(drawn)
    except OSError as fault:
        raise _stop(f"{path} cannot be written: {fault.strerror}") from fault

"""`mrag heads`: what each head of a version separates, with the evidence."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mrag_pipeline.cli.flow_runs import run_work
from mrag_pipeline.cli.options import SharedOptions, Version, shared_options
from mrag_pipeline.cli.terminal import line, out, print_json, size
from mrag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from mrag_pipeline.domain.head_study import Drift, FieldStudy, HeadDetails, HeadStudy
    from mrag_pipeline.domain.success import Interval

STDOUT = "-"
_WORDS = 4  # of a head, in the table


@shared_options("config", "index", "settings")
def heads(
    shared: SharedOptions,
    version: Version = None,
    sample: Annotated[
        int, typer.Option("--sample", help="How many chunks to study; 20 to 10,000.")
    ] = 500,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", help="Nearest documents of each chunk; 1 to 50.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the sample and examples.")] = 0,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            help="A field whose values heads may separate, as in a filter: metadata.KEY; "
            "repeatable.",
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", metavar="VERSION", help="Another version, to see what changed since."
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write all figures as JSON; - prints them."),
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page for a browser.")
    ] = None,
) -> None:
    """Show what each head separates: what only it finds, and whether that is more than chance.

    Each head is measured beside pieces of the standard vector, which are no aspects. A larger
    sample gives narrower intervals. Read docs/heads.md for what the figures mean.

    Examples:
        mrag heads
        mrag heads --field metadata.category --html heads.html --json heads.json
        mrag heads --compare v0123456789ab --sample 1000
    """
    from mrag_pipeline import wiring
    from mrag_pipeline.stages.heads.study import StudyRequest, study_heads
    from mrag_pipeline.stages.versions.lookup import chosen_record, named_record

    request = StudyRequest(sample, neighbours, seed, tuple(dict.fromkeys(field or ())))
    request.check()
    json_path = None if json_file in (None, STDOUT) else Path(str(json_file))
    for path in (json_path, html_file):
        _check_place(path)
    config = shared.load()
    with closing(wiring.index(config)) as index:
        record = chosen_record(index, version)
        other = None if compare is None else named_record(index, compare)
        study = run_work(
            lambda progress: study_heads(record, index, request, progress, other),
            json_file == STDOUT,
        )
    command = shlex.join(["mrag", *sys.argv[1:]])
    values = {"made_by": command, **study.to_dict()}
    if json_path is not None:
        _write(json_path, json.dumps(values, indent=1, ensure_ascii=False))
    if html_file is not None:
        from mrag_pipeline.report.heads_page import heads_page

        _write(html_file, heads_page(study, command))
    if json_file == STDOUT:
        print_json(values)
        return
    show(study)
    written = [str(path) for path in (json_path, html_file) if path is not None]
    if written:
        out.print(f"written: {', '.join(written)}", soft_wrap=True)


def show(study: HeadStudy) -> None:
    """Prints a row for each head, and what the figures say."""
    out.print(
        line(
            ("bold", f"{study.index} {study.version}"),
            f": {len(study.heads)} heads of {study.model}; {study.neighbours} nearest documents "
            f"of {study.sample:,} of {study.num_chunks:,} chunks",
        )
    )
    out.print(_heads(study))
    pieces, own = study.groups["pieces"], study.groups["heads"]
    out.print(
        f"different by neighbours: {own.effective_number:.1f} of {own.num_voters} heads, "
        f"{pieces.effective_number:.1f} of {pieces.num_voters} pieces; by all distances (CKA): "
        f"{own.effective_number_by_alignment:.1f} and {pieces.effective_number_by_alignment:.1f}"
    )
    first = study.heads[0]
    out.print(
        f"cost of a head: one search for each window, {first.search_ms:.1f} ms here; "
        f"{size(first.bytes)}, {size(sum(head.bytes for head in study.heads))} for all"
    )
    for field in study.fields:
        _show_field(field)
    if study.drift is not None:
        _show_drift(study.drift)
    out.print(line(("bold", study.conclusion)))


def _heads(study: HeadStudy) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    # Only the words give way where a terminal is narrow.
    longest = max(len(voter.name) for voter in study.voters)
    table.add_column("voter", no_wrap=True, min_width=longest)
    for name in ("weight", "only it", "above chance", "as standard", "hub", "repeats"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("keeps", overflow="ellipsis", no_wrap=True)
    by_name = {head.name: head for head in study.heads}
    for voter in study.voters:
        if voter.kind != "piece":
            head = by_name.get(voter.name)
            table.add_row(
                voter.name,
                "" if head is None else f"{head.weight:.3f}",
                f"{voter.only_found:.2f}",
                _signed(voter.above_chance),
                f"{voter.with_standard:.2f}",
                f"{voter.hub.share:.2f}",
                "" if voter.repeatability is None else f"{voter.repeatability:.2f}",
                "" if head is None else _kept_words(head),
            )
    group = study.groups["pieces"]
    pieces = [voter for voter in study.voters if voter.kind == "piece"]
    cells = (
        "a piece",
        "",
        f"{group.only_found:.2f}",
        _signed(group.above_chance),
        f"{sum(voter.with_standard for voter in pieces) / len(pieces):.2f}",
        f"{sum(voter.hub.share for voter in pieces) / len(pieces):.2f}",
        "" if group.repeatability is None else f"{group.repeatability:.2f}",
        "mean of all",
    )
    table.add_row(*cells, style="dim")
    return table


def _kept_words(head: HeadDetails) -> str:
    return " ".join(preference.word for preference in head.keeps[:_WORDS])


def _show_field(study: FieldStudy) -> None:
    leader, standard = study.purity[study.leader], study.purity["standard"]
    out.print(
        line(
            ("bold", study.field),
            f" ({study.num_values:,} values): {study.leader} keeps it best, {leader} of its "
            f"neighbours; standard {standard}, chance {study.chance:.3f}. Over the other heads "
            f"{_signed(study.lead)}, over the best piece {_signed(study.lead_over_pieces)}; heads "
            f"differ by {study.spread_of_heads:.3f}, pieces by {study.spread_of_pieces:.3f}",
        )
    )


def _show_drift(drift: Drift) -> None:
    encoder = "the same encoder" if drift.same_encoder else "another encoder"
    kept = drift.mean_of_heads or "no head in common"
    by_voter = ", ".join(f"{name} {own.value:.2f}" for name, own in drift.overlap.items())
    out.print(
        line(
            ("bold", drift.version),
            f" ({encoder}) keeps of the neighbours: {kept} on the mean of heads; {by_voter}. "
            f"{drift.num_chunks:,} chunks compared, {drift.num_missing:,} are not in it; "
            f"{drift.only_here:.1%} of the neighbours here and {drift.only_there:.1%} of those "
            "there are documents that the other lacks or has changed",
        )
    )


def _signed(interval: Interval | None) -> str:
    """`+0.035 ±.003`: the value and half the interval's width."""
    if interval is None:
        return ""
    half = f"{(interval.high - interval.low) / 2.0:.3f}".removeprefix("0")
    return f"{interval.value:+.3f} ±{half}"


def _check_place(path: Path | None) -> None:
    """Refuses a file that could not be written, before the work.

    Raises: ConfigError.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "is a folder" if path.is_dir() else "is in a folder that does not exist"
        raise ConfigError(f"{path} {what}", "a file in a folder that exists")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "a file to write to") from None

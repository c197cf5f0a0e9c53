"""mmcache extract: run the frozen encoders once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from mmcache.extract.planning.plan import Plan
    from mmcache.extract.run.pipeline import ExtractSummary

EXAMPLE = (
    "Example: mmcache extract --dataset epic --root /data/EPIC-KITCHENS --modalities rgb,audio --encoder rgb=swin3d_t"
)


def extract(
    dataset: Annotated[str, typer.Option(help="Data set; see `mmcache list datasets`. Or path/to/file.py:NAME.", rich_help_panel="Data")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set. Default: $MMCACHE_DATA/NAME or data/NAME.", rich_help_panel="Data")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Folder of the annotations. Default: found in root.", rich_help_panel="Data")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, repeatable: a setting of the data set; see `mmcache list datasets`.", rich_help_panel="Data")] = None,
    unlabelled: Annotated[bool | None, typer.Option("--unlabelled", help="For a manifest: accept a table without labels.", rich_help_panel="Data")] = None,
    splits: Annotated[str | None, typer.Option(help="Only these splits, e.g. train,validation. Default: all.", rich_help_panel="Data")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N segments of each split.", rich_help_panel="Data")] = None,
    store: Annotated[Path | None, typer.Option(help="Store to write. Default: cache/NAME.zarr.", rich_help_panel="Store")] = None,
    k: Annotated[int | None, typer.Option(help="k-Average: cache at most K tokens a segment. Default: all.", rich_help_panel="Store")] = None,
    views: Annotated[int | None, typer.Option(help="Views of each segment: the centre view and augmented ones. Default: 1.", rich_help_panel="Store")] = None,
    dtype: Annotated[str | None, typer.Option(help="float16, float32 or int8. Default: float16.", rich_help_panel="Store")] = None,
    shard_mb: Annotated[float | None, typer.Option(help="Approximate size of a shard in MiB. Default: 128.", rich_help_panel="Store")] = None,
    modalities: Annotated[str | None, typer.Option(help="Modalities, such as rgb,audio. Default: those on disk.", rich_help_panel="Encoders")] = None,
    encoder: Annotated[list[str] | None, typer.Option(help="MODALITY=NAME, repeatable; see `mmcache list encoders`. Or MODALITY=path/to/file.py:NAME.", rich_help_panel="Encoders")] = None,
    weights: Annotated[str | None, typer.Option(help="pretrained, random, random:SEED, or PATH. Default: pretrained.", rich_help_panel="Encoders")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Segments in a batch. Default: 4.", rich_help_panel="Run")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes. Default: one per GPU, or one per machine.", rich_help_panel="Run")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster: auto, or HOST:PORT of its head node. Default: this machine only.", rich_help_panel="Run")] = None,
    max_failures: Annotated[float | None, typer.Option(help="Share of segments that may fail. Default: 0.01.", rich_help_panel="Run")] = None,
    retry_failed: Annotated[bool | None, typer.Option("--retry-failed", help="Encode failed segments again.", rich_help_panel="Run")] = None,
    refresh: Annotated[bool | None, typer.Option("--refresh", help="Encode segments again whose files have changed since they were cached.", rich_help_panel="Run")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file. Default: ROOT/mmcache.yaml, if there.", rich_help_panel="Run")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and stop.", rich_help_panel="Run")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Run the frozen encoders once and cache their tokens in a Zarr store.

    After a kill or Ctrl-C, the same command continues with the missing segments.
    """
    from mmcache.cli.arguments import comma_list, pairs, yaml_value

    flags = {
        "root": root, "annotations": annotations, "splits": comma_list(splits), "limit": limit, "store": store, "k": k,
        "dtype": dtype, "shard_mb": shard_mb, "modalities": comma_list(modalities), "weights": weights,
        "encoder": pairs("--encoder", encoder) or None, "batch_size": batch_size, "workers": workers,
        "views": views, "address": address,
        "set": {name: yaml_value("--set", name, text) for name, text in pairs("--set", settings).items()} or None,
        "unlabelled": unlabelled, "max_failures": max_failures, "retry_failed": retry_failed, "refresh": refresh,
    }  # fmt: skip
    run_extract_command(dataset, flags, config, dry_run=dry_run, as_json=as_json)


def run_extract_command(
    dataset: str, flags: dict[str, Any], config_file: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """The whole command, for the command line and for the demo."""
    from mmcache.cli.display.console import print_json, say, warn
    from mmcache.common.settings import SETTINGS_FILE, resolve
    from mmcache.extract.planning.extract_config import ExtractConfig
    from mmcache.store.format.recommended import ignored_note

    named = {"dataset": dataset, **flags}
    root = resolve(ExtractConfig, {"flags": {"dataset": dataset, "root": flags.get("root")}}).data_root()
    inside = root / SETTINGS_FILE
    path = config_file or (inside if inside.is_file() else None)
    found = _settings(path, dataset, trusted=config_file is not None)
    config = resolve(ExtractConfig, {str(path): found.extract, "flags": named})
    config.check()

    from mmcache.extract.planning.data_settings import ALLOWED
    from mmcache.extract.planning.plan import make_plan
    from mmcache.extract.planning.plan_warnings import plan_warnings
    from mmcache.extract.run.pipeline import check_failures, run_extract

    plan = make_plan(config, found.recommended)
    warnings = []
    if path is not None:
        say(f"settings from {path}")
    if found.ignored:
        warnings.append(
            f"{path} is inside the data, so its {', '.join(found.ignored)} are ignored: such a file may set "
            f"{', '.join(ALLOWED)} and encoders of `mmcache list encoders`. --config {path} accepts all of it."
        )
    if found.not_recommended:
        warnings.append(ignored_note(str(path), found.not_recommended))
    _show_plan(plan)
    warnings += [*_absent(plan), *_show_changed(plan), *plan_warnings(plan)]
    for message in warnings:
        warn(message)
    understood = {"understood": list(plan.dataset.notes), "warnings": warnings}
    if dry_run:
        if as_json:
            print_json({"modalities": _to_do(plan), "problems": plan.dataset.problems, **understood})
        say("dry run: nothing was written")
        return
    summary = run_extract(plan, _Progress())
    if as_json:
        print_json({**vars(summary), **understood})
    else:
        _show_summary(summary)
    check_failures(summary, config.max_failures)


class _Settings(NamedTuple):
    """The two sections of a settings file, and the ignored options of each."""

    extract: dict[str, Any]
    ignored: list[str]
    recommended: dict[str, Any]
    not_recommended: list[str]


def _settings(path: Path | None, dataset: str, trusted: bool) -> _Settings:
    """The settings of a file; `trusted` if a person named it, rather than that it was found in the data."""
    from mmcache.common.settings import read_settings
    from mmcache.extract.planning.data_settings import take_harmless
    from mmcache.store.format.recommended import take_recommended

    sections = read_settings(path) if path is not None else {}
    section = sections.get("extract", {})
    taken, ignored = (dict(section), []) if trusted else take_harmless(section, dataset)
    return _Settings(taken, ignored, *take_recommended(sections.get("fuse")))


class _Progress:
    """One bar a modality, which appears when its first segment is done."""

    def __init__(self) -> None:
        from mmcache.cli.display.console import Bars

        self._bars = Bars()
        self._totals: dict[str, int] = {}

    def start(self, totals: dict[str, int]) -> None:
        self._totals = totals

    def expect(self, seconds: dict[str, float]) -> None:
        from mmcache.cli.display.console import duration, say

        for modality, expected in seconds.items():
            say(f"{modality}: about {duration(expected)}, measured on its first segments")
        if len(seconds) > 1:
            say(f"about {duration(sum(seconds.values()))} in all")

    def update(self, done: dict[str, int]) -> None:
        for modality, count in done.items():
            if count:
                self._bars.update(modality, count, self._totals[modality], "segments")

    def stop(self) -> None:
        self._bars.stop()


def _show_plan(plan: "Plan") -> None:
    """How a table was understood, and coverage by split and modality, before anything starts."""
    from mmcache.cli.display.console import err, say, size, table
    from mmcache.store.format.layout import Presence

    for note in plan.dataset.notes:
        say(note)
    splits = plan.segments["split"].iloc[plan.selected]
    absent = {part.modality: plan.segments["video"].isin(list(part.absent)).to_numpy() for part in plan.modalities}
    rows = []
    for split in dict.fromkeys(splits):
        chosen = plan.selected[(splits == split).to_numpy()]
        cells = []
        for part in plan.modalities:
            cached = int((part.status[chosen] == Presence.CACHED).sum())
            there = part.on_disk[chosen] & ~absent[part.modality][chosen]
            cells += [int(there.sum()), cached]
        rows.append([split, len(chosen), *cells])
    columns = ["split", "segments"]
    for part in plan.modalities:
        columns += [f"{part.modality}\non disk", "\ncached"]
    err.print(table(f"{plan.dataset.name}: {plan.config.data_root()} -> {plan.config.store_path()}", columns, rows))
    for part in plan.modalities:
        if len(part.to_do):
            say(
                f"{part.modality}: {part.info.name}, {len(part.to_encode)} segments to encode, "
                f"{part.tokens} x {part.info.width} tokens each, {size(part.bytes_to_write)} to write"
            )
    for problem in plan.dataset.problems[:5]:
        say(f"left out: {problem}")
    if len(plan.dataset.problems) > 5:
        say(f"... and {len(plan.dataset.problems) - 5} more of that kind; --json lists them all")


def _to_do(plan: "Plan") -> dict[str, dict[str, int]]:
    """The plan of each modality as a dry run prints it in JSON."""
    return {
        part.modality: {
            "segments": len(part.to_do),
            "bytes": part.bytes_to_write,
            "changed": len(part.changed),
            "gone": len(part.gone),
        }
        for part in plan.modalities
    }


def _absent(plan: "Plan") -> list[str]:
    """Warnings about files that a table names and that do not exist."""
    warnings = []
    for part in plan.modalities:
        count = int(plan.segments["video"].iloc[part.to_do].isin(list(part.absent)).sum())
        if count:
            reason = next(iter(part.absent.values()))
            files = f"files of {count} segment{'s' * (count != 1)}"
            warnings.append(f"{part.modality}: {files} do not exist and will fail: {reason}")
    return warnings


def _show_changed(plan: "Plan") -> list[str]:
    """Warnings of media that were replaced since they were cached, and of a store that is made anew.

    Media that no longer exist, or are encoded again, are printed and are no warnings.
    """
    from mmcache.cli.display.console import say

    warnings = []
    if plan.replaces:
        warnings.append(
            f"{plan.config.store_path()} was made from other annotations and holds no tokens: it is replaced. "
            "A first try may have left it."
        )
    ids = plan.segments["id"]
    for part in plan.modalities:
        for rows, what, then in (
            (
                part.changed,
                "have other media now than when they were cached (by size or time of the files)",
                "they are done again" if plan.config.refresh else "--refresh does them again",
            ),
            (part.gone, "are cached, and their media are gone", "their tokens are kept"),
        ):
            if len(rows):
                names = ", ".join(ids.iloc[rows[:3]])
                more = ", ..." if len(rows) > 3 else ""
                tell = say if plan.config.refresh or rows is part.gone else warnings.append
                tell(f"{part.modality}: {len(rows)} segments {what}: {names}{more}; {then}")
    return warnings


def _show_summary(summary: "ExtractSummary") -> None:
    from mmcache.cli.display.console import out, table
    from mmcache.store.ground.failure_groups import group_lines

    if summary.settled == 0:
        out.print(f"Nothing to do: {summary.store} has everything this command asks for.")
    else:
        rate = summary.settled / summary.seconds
        out.print(
            f"{summary.settled} segments and modalities in {summary.seconds:.1f} s ({rate:.1f}/s) -> {summary.store}"
        )
    names = ("cached", "missing", "failed", "to_do")
    rows = [[modality, *(counts[name] for name in names)] for modality, counts in summary.counts.items()]
    out.print(table("", ["modality", "cached", "missing", "failed", "to do"], rows))
    for title, lines in (("Failed", summary.failures), ("Noted", summary.notes)):
        for group in group_lines(lines):
            out.print(f"{title}: {group}")

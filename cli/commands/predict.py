"""mmcache predict: rank the actions of a raw clip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmcache.extract.clips.encode_clip import Clip
    from mmcache.fuse.deploy.prediction import Predictor, Ranked

EXAMPLE = "Example: mmcache predict runs/epic/karmma-1a2b3c4d --rgb clip.mp4 --audio clip.mp4 --start 2 --stop 4.5"


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, as `mmcache fuse` makes it.")],
    rgb: Annotated[Path | None, typer.Option(help="Video file, or a folder of numbered images.", rich_help_panel="Media")] = None,
    flow: Annotated[Path | None, typer.Option(help="Folder with u/ and v/, numbered images each.", rich_help_panel="Media")] = None,
    audio: Annotated[Path | None, typer.Option(help="Any file with audio, videos too.", rich_help_panel="Media")] = None,
    imu: Annotated[list[Path] | None, typer.Option(help="CSV with accelerometer and gyroscope, or one for each: give both, or GoPro's X-accl.csv.", rich_help_panel="Media")] = None,
    imu_columns: Annotated[str, typer.Option(metavar="NAME=COLUMN,...", help="Columns and units of the IMU files, if their names do not show them: time=ts,ax=acc1,time_unit=ms", rich_help_panel="Media")] = "",
    boxes: Annotated[Path | None, typer.Option(help=".pkl of EPIC-KITCHENS or .json of Something-Else.", rich_help_panel="Media")] = None,
    media: Annotated[list[str] | None, typer.Option(help="NAME=PATH for any modality of the run, repeatable; separate several paths of one modality with ';'.", rich_help_panel="Media")] = None,
    rate: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER: images per second of a folder of images.", rich_help_panel="Media")] = None,
    start: Annotated[float, typer.Option(help="Seconds into the clip.", rich_help_panel="Media")] = 0.0,
    stop: Annotated[float | None, typer.Option(help="Seconds into the clip. Default: its end.", rich_help_panel="Media")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out media that cannot be used.", rich_help_panel="Media")] = False,
    weights: Annotated[list[str] | None, typer.Option(help="NAME=PATH: the file of an encoder's weights. Without NAME=, for all encoders whose weights are a file.", rich_help_panel="Encoders")] = None,
    encoder: Annotated[list[str] | None, typer.Option(help="MODALITY=ENCODER, if the run does not name it: hf:FOLDER, or path/to/file.py:NAME of a plugin.", rich_help_panel="Encoders")] = None,
    store: Annotated[str | None, typer.Option(help="The store, for runs of older versions whose store was moved.", rich_help_panel="Encoders")] = None,
    onnx: Annotated[Path | None, typer.Option(help="Predict with this file of `mmcache export` instead of the run's weights.", rich_help_panel="Run")] = None,
    top: Annotated[int, typer.Option(help="Answers per task.", rich_help_panel="Run")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.", rich_help_panel="Run")] = "auto",
    plugin: Annotated[list[str] | None, typer.Option(help="FILE.py:NAME of a strategy or fusion that the run uses, repeatable.", rich_help_panel="Run")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the predictions as JSON.", rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Predict the action in a clip from any of the run's modalities; the others count as missing.

    Uses the encoders that made the run's tokens, and refuses encoders that would make other tokens.
    """
    from mmcache.cli.display.console import print_json
    from mmcache.fuse.options.components import name_plugins

    name_plugins(plugin or ())
    named = {"rgb": rgb, "flow": flow, "audio": audio, "boxes": boxes}
    paths = {name: (path,) for name, path in named.items() if path is not None}
    given: dict[str, tuple[Path, ...]] = {**paths, **({"imu": tuple(imu)} if imu else {}), **_media(media)}
    from mmcache.extract.clips.encode_clip import Wanted, encode_clip
    from mmcache.fuse.data.origin import origins_of
    from mmcache.fuse.deploy.prediction import predict as rank_clip
    from mmcache.fuse.runs.config import read_run_config
    from mmcache.fuse.training.device import usable_device

    _check(read_run_config(run), given, top)
    device = usable_device(device)
    origins = origins_of(run, store)
    model, place = _model(run, onnx, device)
    wanted = Wanted(
        media=given,
        start_s=start,
        stop_s=float("inf") if stop is None else stop,
        rates=_rates(rate),
        encoders=_pairs("--encoder", encoder),
        weights=_weights(weights, given, origins),
        skip_bad=skip_bad,
        imu_columns=imu_columns,
    )
    clip = encode_clip(wanted, origins, device)
    predictions = rank_clip(model, clip.tokens, top, place)
    missing = [name for name in model.spec.names if name not in clip.tokens]
    if as_json:
        print_json(_document(run, wanted, clip, missing, predictions))
    else:
        _show(clip, missing, predictions)


def _model(run: Path, onnx: Path | None, device: str) -> "tuple[Predictor, str]":
    """The network, and the device for its inputs."""
    from mmcache.fuse.deploy.exported import OnnxModel
    from mmcache.fuse.network.model import Model
    from mmcache.store.ground.errors import ConfigError

    if onnx is None:
        return Model.load(run, device), device
    exported, own = OnnxModel(onnx), Model.load(run).spec
    if exported.spec != own:
        raise ConfigError(f"{onnx} was not exported from {run}: their modalities, encoders or classes differ")
    return exported, "cpu"


def _check(saved: dict[str, Any], given: dict[str, tuple[Path, ...]], top: int) -> None:
    from mmcache.store.ground.errors import Problems

    problems, has = Problems(), ", ".join(saved["model"]["modalities"])
    for name in given:
        if name not in saved["model"]["modalities"]:
            flag = f"--{name}" if name in ("rgb", "flow", "audio", "imu", "boxes") else f"--media {name}=..."
            problems.add(f"{flag}: the run has no modality {name}; it has {has}")
    if not given:
        problems.add(f"give media for at least one of the run's modalities: {has}")
    if top < 1:
        problems.add(f"--top {top}: at least 1")
    problems.raise_if_any()


def _media(values: list[str] | None) -> dict[str, tuple[Path, ...]]:
    return {name: tuple(map(Path, paths.split(";"))) for name, paths in _pairs("--media", values).items()}


def _rates(values: list[str] | None) -> dict[str, float]:
    from mmcache.store.ground.errors import ConfigError

    rates = {}
    for name, text in _pairs("--rate", values).items():
        try:
            rates[name] = float(text)
        except ValueError:
            rates[name] = 0.0
        if not 0 < rates[name] < float("inf"):
            raise ConfigError(f"--rate {name}={text}: expected a number of images per second")
    return rates


def _weights(values: list[str] | None, given: dict[str, Any], origins: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Modality -> weights. A path without a name applies to all modalities with weights from a file, or else to all."""
    unnamed = [value for value in values or () if "=" not in value]
    chosen = _pairs("--weights", [value for value in values or () if "=" in value])
    of_file = [n for n in given if str(origins.get(n, {}).get("fingerprint", {}).get("weights")).startswith("file:")]
    return {**{name: unnamed[-1] for name in (of_file or given) if unnamed}, **chosen}


def _pairs(flag: str, values: list[str] | None) -> dict[str, str]:
    from mmcache.cli.arguments import pairs

    return pairs(flag, values)


def _document(
    run: Path, wanted: Any, clip: "Clip", missing: list[str], predictions: "dict[str, list[Ranked]]"
) -> dict[str, Any]:
    return {
        "run": str(run),
        "media": {name: [str(path) for path in wanted.media[name]] for name in clip.tokens},
        "start": wanted.start_s,
        "stop": None if wanted.stop_s == float("inf") else wanted.stop_s,
        "missing": missing,
        "skipped": clip.skipped,
        "notes": clip.notes,
        "tasks": {
            task: [{**each.names, "probability": each.probability} for each in ranked]
            for task, ranked in predictions.items()
        },
    }


def _show(clip: "Clip", missing: list[str], predictions: "dict[str, list[Ranked]]") -> None:
    from mmcache.cli.display.console import out, table, warn

    for name, reason in clip.skipped.items():
        warn(f"{name} is left out: {reason}")
    for name, note in clip.notes.items():
        warn(f"{name}: {note}")
    without = f", without {', '.join(missing)}" if missing else ""
    out.print(f"From {', '.join(clip.tokens)}{without}:")
    columns, rows = [], []
    for task in sorted(predictions, key=lambda task: task != "action"):  # the action first
        columns += [task, "%"]
    longest = max(map(len, predictions.values()))
    for place in range(longest):
        row = []
        for task in columns[::2]:
            each = predictions[task][place] if place < len(predictions[task]) else None
            row += ["", ""] if each is None else [" ".join(each.names.values()), f"{100 * each.probability:5.1f}"]
        rows.append(row)
    out.print(table("", columns, rows, text_columns=len(columns)))

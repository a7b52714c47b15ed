"""The command line: reads options, shows progress, prints results; everything else happens in the parts."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .runtime.engines import PLANS
from .runtime.errors import InputError, PaliJetError

app = typer.Typer(
    name="palijet",
    help="PaliGemma on Jetson: export once, run every frame.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
talk = Console(stderr=True, markup=False, highlight=False)  # paths may hold brackets

BundleArgument = Annotated[Path, typer.Argument(help="Folder that `palijet export` wrote.", show_default=False)]
ThreadsOption = Annotated[int, typer.Option(help="Inference threads; 0: one per physical core.", min=0)]
BackendOption = Annotated[str, typer.Option(help="auto, tensorrt, cuda or cpu.")]
MaxTokensOption = Annotated[int | None, typer.Option(help="Longest answer, in tokens.", show_default="128")]
PartPrecisionOption = Annotated[str | None, typer.Option(help="Of this part, where it is another.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def main() -> None:
    """Run the command line; what goes wrong on purpose is one sentence and exit code 1."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(arguments, standalone_mode=True)
    except PaliJetError as error:
        if debug:
            traceback.print_exc()
        _say_error(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        talk.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # what the parts do not know: a full disk under standard output, say
        if debug:
            traceback.print_exc()
        _say_error(f"{error.filename or 'the output'} cannot be written or read: {error.strerror or error}")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _say_error(f"{type(error).__name__}: {error} (this is a fault of PaliJet; --debug shows where)")
        sys.exit(70)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        print(f"palijet {version_of('palijet')}")
        raise typer.Exit()


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a PaliGemma checkpoint.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", show_default=False)],
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, int8-weight or int4.")] = "fp16",
    vision_precision: PartPrecisionOption = None,
    projector_precision: PartPrecisionOption = None,
    decoder_precision: PartPrecisionOption = None,
    head_precision: PartPrecisionOption = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Frames of the camera in use: a folder, a video, or a .jsonl of image, prefix and suffix. int8 needs them.",
            show_default=False,
        ),
    ] = None,
    calibrate_prompt: Annotated[
        list[str] | None, typer.Option(help="What is asked about these frames; may be given several times.")
    ] = None,
    calibrate_samples: Annotated[int, typer.Option(help="At most so many frames and prompts.", min=2)] = 64,
    lora: Annotated[
        list[Path] | None, typer.Option(help="Folder of a PEFT adapter to merge; may be given several times.")
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="Refuse what this board cannot run: orin-nano-8gb; see `doctor --boards`.")
    ] = None,
    block: Annotated[int, typer.Option(help="Inputs that share a scale at int8-weight and int4: 32, 64 or 128.")] = 32,
    keep_fp16: Annotated[
        float, typer.Option(help="Share of the weights that may stay at FP16 where quantization hurts.", min=0, max=1)
    ] = 0.1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Turn a PaliGemma checkpoint into a bundle."""
    from .export import ExportOptions, load_calibration
    from .export import export as export_checkpoint

    calibration = None
    if calibrate is None and calibrate_prompt:
        raise InputError("--calibrate-prompt asks about frames; give them as well: --calibrate FOLDER_OR_VIDEO")
    if calibrate is not None:
        calibration = load_calibration(calibrate, calibrate_prompt or (), limit=calibrate_samples)
    options = ExportOptions(
        precision=precision,
        vision_precision=vision_precision,
        projector_precision=projector_precision,
        decoder_precision=decoder_precision,
        head_precision=head_precision,
        adapters=tuple(lora or ()),
        calibration=calibration,
        board=board,
        block=block,
        keep_fp16=keep_fp16,
        overwrite=overwrite,
    )
    with _progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        bundle = export_checkpoint(
            checkpoint,
            output,
            options,
            lambda part, done, total: bar.update(task, description=part, completed=done, total=total),
        )
    talk.print(f"{output}: {_readable(bundle.total_bytes)} at {precision}")
    quality = bundle.manifest.quality
    if quality is None:
        return
    if quality.agreement is not None:
        talk.print(f"{quality.agreement:.1%} of {quality.tokens} tokens on held-out frames are those of FP32")
    for warning in quality.warnings:
        talk.print(Text.assemble(("warning: ", "bold yellow"), warning), soft_wrap=True)
    talk.print(f"report: {output / 'report.html'}")


@app.command()
def build(
    bundle: BundleArgument,
    max_batch: Annotated[int, typer.Option(help="Prompts decoded together, at most.", min=1)] = 4,
    max_rows: Annotated[
        int | None, typer.Option(help="Rows of image, prompt and answer, at most.", show_default="the image's and 512")
    ] = None,
    workspace_gb: Annotated[float, typer.Option(help="Scratch memory of the fastest kernels, in GB.", min=0.01)] = 1.0,
    tensorrt: Annotated[str, typer.Option(help="auto, tensorrt or rtx (TensorRT-RTX).")] = "auto",
    compute_capability: Annotated[
        str | None, typer.Option(help="Build for another GPU than this machine's: 8.9.", show_default=False)
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build engines that are there once more.")] = False,
    ignore_memory: Annotated[
        bool, typer.Option("--ignore-memory", help="Build although memory looks too small.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Run each engine beside onnxruntime and print the differences (needs pycuda)."),
    ] = False,
) -> None:
    """Build TensorRT engines of a bundle, on the device that will run them."""
    from .export.engine_builder import BuildOptions, ShapeLimits, estimate
    from .export.engine_builder import build as build_engines
    from .runtime.bundle import open_bundle

    opened = open_bundle(bundle)
    options = BuildOptions(
        tensorrt=tensorrt,
        limits=ShapeLimits(max_batch=max_batch, max_rows=max_rows),
        workspace_bytes=int(workspace_gb * 1e9),
        compute_capability=compute_capability,
        rebuild=rebuild,
        ignore_memory=ignore_memory,
    )
    expected = estimate(opened, options)
    time_text = (
        "time unknown before a first build here" if expected.seconds is None else f"about {expected.seconds:.0f} s"
    )
    talk.print(f"expected: up to {_readable(expected.peak_bytes)} of memory, {time_text}")
    with _progress_bar() as bar:
        task = bar.add_task("looking", total=None)
        folder, built = build_engines(
            opened,
            options,
            lambda part, done, total: bar.update(task, description=part, completed=done, total=total or None),
        )
    table = Table(
        "engine", "size", "seconds", "matrix products", title=f"{built.key.tensorrt}, sm {built.key.compute_capability}"
    )
    for part, plan in PLANS.items():
        products = ", ".join(f"{count} {kind}" for kind, count in built.layers[part].items() if kind.endswith("matmul"))
        table.add_row(part, _readable(built.plans[plan].bytes), str(built.seconds[part]), products)
    _print_table(table)
    talk.print(f"engines: {folder}")
    if verify:
        from .export.engine_verifier import verify as verify_engines

        differences = Table("engine", "output", "largest difference", "relative to the largest value")
        for difference in verify_engines(opened, folder, built, tensorrt):
            differences.add_row(
                difference.engine, difference.output, f"{difference.largest:.3g}", f"{difference.relative:.3g}"
            )
        _print_table(differences)


@app.command()
def inspect(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Show what a bundle is and what it needs."""
    from .runtime.bundle import open_bundle
    from .runtime.inspect import summarize

    summary = summarize(open_bundle(bundle))
    if as_json:
        print(json.dumps(summary.to_dict()))
        return
    table = Table("part", "shape", "precision", "size", title=str(bundle))
    for part in summary.parts:
        table.add_row(part.name, part.what, part.precision, _readable(part.bytes))
    _print_table(table)
    needs = Table(show_header=False)
    for name, value in summary.needs.items():
        needs.add_row(name, value)
    _print_table(needs)


@app.command()
def run(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="Folder that `palijet export` wrote; none where --cameras names it.", show_default=False),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="A picture, a video, a folder (dir://FOLDER?watch=1), a camera's index, v4l2://, csi://, rtsp://, rtp://, "
            "http://, gst://, synthetic://; "
            "may be given several times, as NAME=SOURCE too.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="What to ask; may be given several times.", show_default=False)
    ] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(help="A cameras.toml in place of --source and --prompt; read anew at SIGHUP.", show_default=False),
    ] = None,
    jsonl: Annotated[str | None, typer.Option(help="File for one JSON line per result; - is standard output.")] = None,
    save: Annotated[Path | None, typer.Option(help="Annotated video to write (.mp4).")] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Where results go: mqtt://, https:// (webhook), FILE.jsonl, FILE.mp4, snapshots:FOLDER; may be given "
            "several times."
        ),
    ] = None,
    page: Annotated[
        str | None, typer.Option(help="Serve a live page, /metrics and health: PORT or HOST:PORT.", show_default=False)
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="That the page asks for; 8 characters or more.", envvar="PALIJET_TOKEN")
    ] = None,
    status: Annotated[
        Path | None, typer.Option(help="JSON file that says how all cameras and sinks are, every second.")
    ] = None,
    max_tokens: MaxTokensOption = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="An answer that there is; give several, and there are no others.")
    ] = None,
    every: Annotated[int, typer.Option(help="Answer each n-th frame only.", min=1)] = 1,
    fps: Annotated[
        float | None, typer.Option(help="Answer so many frames per second at most.", show_default=False)
    ] = None,
    max_staleness: Annotated[
        float | None, typer.Option(help="Seconds; a frame that is older when its turn comes is not answered.")
    ] = None,
    skip_unchanged: Annotated[
        bool, typer.Option("--skip-unchanged", help="Repeat the last answer while the picture does not change.")
    ] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play a file as if it were a live camera.")] = False,
    track: Annotated[bool, typer.Option("--track", help="Objects keep an id from frame to frame.")] = False,
    width: Annotated[int | None, typer.Option(help="Of the picture: asked of a camera, or scaled to.")] = None,
    height: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    capture_fps: Annotated[float | None, typer.Option(help="Frames per second that a camera is asked for.")] = None,
    rotation: Annotated[int, typer.Option(help="Clockwise: 0, 90, 180 or 270 degrees.")] = 0,
    crop: Annotated[str | None, typer.Option(help="Region of interest: X0,Y0,X1,Y1 in pixels.")] = None,
    latency_ms: Annotated[int, typer.Option(help="Of a network stream's jitter buffer.", min=0)] = 100,
    transport: Annotated[str, typer.Option(help="Of RTSP: tcp or udp.")] = "tcp",
    reader: Annotated[str, typer.Option(help="auto, gstreamer or opencv.")] = "auto",
    drafts: Annotated[
        bool, typer.Option("--drafts/--no-drafts", help="Verify the last answer within the prefill of the next.")
    ] = True,
    pipeline: Annotated[bool, typer.Option("--pipeline", help="Encode the next frame while one is decoded.")] = False,
    limit: Annotated[int | None, typer.Option(help="Stop after so many answered frames.", min=1)] = None,
    log_format: Annotated[str, typer.Option(help="Of the log on standard error: text or json.")] = "text",
    threads: ThreadsOption = 0,
    backend: BackendOption = "auto",
) -> None:
    """Answer the frames of one source or of many, for as long as they come."""
    from .run_request import RunRequest, serve
    from .runtime.cameras.options import CameraOptions
    from .runtime.stream import StreamOptions
    from .runtime.watch.logs import configure

    configure("info", log_format)  # type: ignore[arg-type]
    serve(
        RunRequest(
            bundle=bundle,
            sources=tuple(source or ()),
            prompts=tuple(prompt or ()),
            cameras=cameras,
            jsonl=jsonl,
            save=save,
            sinks=tuple(sink or ()),
            page=page,
            token=token,
            status=status,
            limit=limit,
            threads=threads,
            backend=backend,
            stream=StreamOptions(
                max_tokens=max_tokens,
                choices=choice or None,
                every=every,
                fps=fps,
                max_staleness=max_staleness,
                skip_unchanged=skip_unchanged,
                realtime=realtime,
                track=track,
                drafts=drafts,
                pipeline=pipeline,
                camera=CameraOptions(
                    width=width,
                    height=height,
                    capture_fps=capture_fps,
                    rotation=rotation,
                    crop=_region(crop),
                    latency_ms=latency_ms,
                    transport=transport,
                    reader=reader,
                ),
            ),
        ),
        talk,
    )


@app.command()
def cameras(as_json: JsonOption = False) -> None:
    """List the cameras of this machine and their modes."""
    from dataclasses import asdict

    from .runtime.cameras.listing import list_cameras

    found = list_cameras()
    if as_json:
        print(json.dumps([asdict(camera) for camera in found]))
        return
    if not found:
        talk.print("no camera is plugged in; network cameras are given by address: --source rtsp://HOST/PATH")
        return
    table = Table("camera", "--source", "modes")
    for camera in found:
        table.add_row(camera.name, camera.address, ", ".join(str(mode) for mode in camera.modes) or "unknown")
    _print_table(table)


@app.command()
def bench(
    bundle: BundleArgument,
    image: Annotated[Path | None, typer.Option(help="Picture to ask about; else noise of 1920x1080.")] = None,
    prompt: Annotated[str, typer.Option(help="What to ask.")] = "caption en",
    max_tokens: Annotated[int, typer.Option(help="Tokens decoded in every run.", min=2)] = 32,
    runs: Annotated[int, typer.Option(help="Runs that count.", min=1)] = 10,
    threads: ThreadsOption = 0,
    backend: BackendOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on this machine."""
    import time

    import numpy as np

    from .jetson.board import read_board
    from .runtime.bench import bench as measure
    from .runtime.model import load

    started = time.perf_counter()
    model = load(bundle, backend, threads=threads, drafts=False)
    load_s = time.perf_counter() - started
    frame = image or np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    with talk.status("measuring"):
        report = measure(model, frame, prompt, max_tokens=max_tokens, runs=runs)
    settings = {"machine": str(read_board()), **report.settings, "load_s": round(load_s, 2)}
    if as_json:
        print(json.dumps({**report.to_dict(), "settings": settings}))
        return
    table = Table("stage", "median ms", "p95 ms", title=str(bundle))
    for stage in ("preprocess", "vision", "prefill", "per_token", "total"):
        spread = getattr(report, stage)
        table.add_row(stage.replace("_", " "), f"{spread.median:.2f}", f"{spread.p95:.2f}")
    _print_table(table)
    rest = Table(show_header=False)
    rest.add_row("tokens per second", f"{report.tokens_per_s:.1f}")
    rest.add_row("peak memory", _readable(report.peak_memory_bytes))
    for name, value in settings.items():
        rest.add_row(name, str(value))
    _print_table(rest)


@app.command()
def doctor(
    bundle: Annotated[Path | None, typer.Option(help="Say what this bundle takes, too.", show_default=False)] = None,
    board: Annotated[str | None, typer.Option(help="On this board, as orin-nano-8gb; else on this machine.")] = None,
    boards: Annotated[bool, typer.Option("--boards", help="List the boards that are known.")] = False,
    root: Annotated[
        Path, typer.Option(help="Look at the /proc, /sys and /etc of another machine.", hidden=True)
    ] = Path("/"),
    as_json: JsonOption = False,
) -> None:
    """Look at this machine: what it has, what is wrong, and the mend."""
    from .show_machine import show_boards, show_findings, show_plans

    if boards:
        show_boards(as_json=as_json)
        return
    if bundle is not None:
        show_plans(bundle, board, root, as_json=as_json)
        return
    if not show_findings(root, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for what the demo makes.")] = Path("out/demo"),
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, int8-weight or int4.")] = "fp32",
    threads: ThreadsOption = 0,
    bundle_only: Annotated[bool, typer.Option("--bundle-only", help="Export the checkpoint and stop.")] = False,
) -> None:
    """Export the built-in checkpoint and let it watch a clip: video, picture and JSON Lines."""
    from .demo.tour import tour

    tour(output, precision=precision, threads=threads, bundle_only=bundle_only, talk=talk)


def _region(text: str | None) -> tuple[int, int, int, int] | None:
    """X0,Y0,X1,Y1."""
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (int(edge) for edge in text.split(","))
    except ValueError:
        raise InputError(f"crop is {text!r}; give X0,Y0,X1,Y1 in pixels") from None
    return x0, y0, x1, y1


def _say_error(sentence: str) -> None:
    talk.print(Text.assemble(("error: ", "bold red"), sentence), soft_wrap=True)


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description:10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=talk,
        transient=True,
        disable=not talk.is_terminal,
    )


def _print_table(table: Table) -> None:
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def _readable(count: float) -> str:
    from .runtime.inspect import readable_bytes

    return readable_bytes(count)


if __name__ == "__main__":
    main()

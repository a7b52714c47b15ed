"""What `palijet demo` shows: the built-in checkpoint becomes a bundle, and the bundle watches a clip.

Into a folder: bundle/, clip.mp4 (what the camera saw), annotated.mp4, picture.png (one frame with all answers), results.jsonl.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track

from ..runtime.draw import draw
from ..runtime.model import Model, load
from ..runtime.result import StreamResult
from ..runtime.sinks.video_writer import VideoWriter
from ..runtime.stream import open_watch
from .clip import Clip, write_clip

CHECKPOINT = Path(__file__).parent / "checkpoint"

DETECTION = "detect part ; label"
PROMPTS = (DETECTION, "caption en", "ocr", "answer en how many parts")


def tour(output: Path, *, precision: str, threads: int, bundle_only: bool, talk: Console) -> None:
    """Run the demo into folder `output`; files of an earlier run are replaced."""
    from ..export import ExportOptions, export
    from .calibration import demo_calibration

    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    bundle = output / "bundle"
    with talk.status("exporting the demo checkpoint"):
        calibration = None if precision in ("fp32", "fp16") else demo_calibration()
        export(CHECKPOINT, bundle, ExportOptions(precision=precision, calibration=calibration, overwrite=True))
    talk.print(f"bundle     {bundle}")
    if bundle_only:
        return
    clip = Clip()
    with talk.status("drawing the clip"):
        write_clip(output / "clip.mp4", clip)
    talk.print(f"clip       {output / 'clip.mp4'}, {clip.frames} frames")

    model = load(bundle, threads=threads)
    best = -1.0
    answering = time.monotonic()
    with (
        (output / "results.jsonl").open("w", encoding="utf-8") as lines,
        VideoWriter(output / "annotated.mp4", clip.fps) as video,
    ):
        for image, results in track(_answers(model, output / "clip.mp4"), "answering", clip.frames, console=talk):
            lines.writelines(result.to_json() + "\n" for result in results)
            canvas = draw(image, results, panel_lines=len(PROMPTS))
            video.write(canvas)
            if (worth := _worth(results)) > best:
                best, shown = worth, results
                cv2.imwrite(str(output / "picture.png"), canvas)
    rate = clip.frames / (time.monotonic() - answering)
    talk.print(f"video      {output / 'annotated.mp4'}")
    talk.print(f"results    {output / 'results.jsonl'}")
    talk.print(f"picture    {output / 'picture.png'}, frame {shown[0].frame_index}:")
    for result in shown:
        answer = ", ".join(thing.label for thing in result.objects) if result.objects else result.text
        talk.print(f"           {result.prompt}: {answer}")
    talk.print(f"{rate:.1f} frames/s with {len(PROMPTS)} prompts each; {time.monotonic() - started:.0f} s in all")


def _worth(results: list[StreamResult]) -> float:
    """How much a frame has to show: a serial number and several objects, and every answer of the four a sure one."""
    detection, _, serial, _ = results
    return bool(serial.text) * min(len(detection.objects), 4) + min(result.confidence for result in results)


def _answers(model: Model, clip: Path) -> Iterator[tuple[cv2.typing.MatLike, list[StreamResult]]]:
    with open_watch(model, clip, PROMPTS) as watch:
        for answered in watch.answers():
            yield answered.frame.image, list(answered.results)

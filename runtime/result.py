"""What comes out: an answer's text and tokens, the objects it names, how sure it is, and where the time went."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PaliJetError

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True)
class Timings:
    """Where the time of a call went, in milliseconds, which prompts answered together share; and what this answer took."""

    preprocess: float
    vision: float
    prefill: float
    decode: float
    total: float
    tokens: int  # of this answer
    decoder_calls: (
        int  # runs of the decoder that it took part in: one prefill, and a step per token that no guess foresaw
    )
    drafted: int = 0  # guessed tokens that were verified
    accepted: int = 0  # and held


@dataclass(frozen=True)
class DetectedObject:
    """An object that an answer places in the picture."""

    label: str
    box: tuple[float, float, float, float]  # x0 y0 x1 y1, pixels of the picture that was given
    score: float  # geometric mean of the probabilities of its tokens: places, label and separator
    mask: np.ndarray | None = (
        None  # [height, width] bool; None, for the decoder of segment codes is no part of a checkpoint
    )
    segment_codes: tuple[int, ...] = ()  # the codes of big_vision's mask autoencoder, 16 where the mask is whole
    track_id: int | None = None  # the same for the same thing from frame to frame, where objects are tracked


@dataclass(frozen=True)
class Choice:
    """One of the answers that were to choose from."""

    text: str
    probability: float  # among the choices, which add up to 1
    logprob: float  # of the model to begin its answer so, whatever else it could say


@dataclass(frozen=True)
class Result:
    """The answer to one prompt about one picture."""

    prompt: str
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # natural logarithm of each token's probability
    stop_reason: str  # "stop", "max_tokens" or "cancelled"; "choice" where there were choices
    stop_logprob: float | None  # of the end token, where there is one
    objects: tuple[DetectedObject, ...]
    incomplete: str  # location and segment tokens that belong to no whole box
    image_size: tuple[int, int]  # width, height, pixels
    timings: Timings
    choices: tuple[Choice, ...] = ()  # that were to choose from, in their order; `text` is the likeliest

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of all tokens, the end token among them; 0 to 1."""
        logprobs = list(self.logprobs) + ([self.stop_logprob] if self.stop_logprob is not None else [])
        return geometric_mean(logprobs)

    def to_dict(self) -> dict[str, Any]:
        """Everything but masks, of plain types."""
        return {
            "prompt": self.prompt,
            "text": self.text,
            "confidence": round(self.confidence, 6),
            "stop_reason": self.stop_reason,
            "objects": [
                {
                    "label": thing.label,
                    "box": [round(edge, 2) for edge in thing.box],
                    "score": round(thing.score, 6),
                    **({"track_id": thing.track_id} if thing.track_id is not None else {}),
                    **({"segment_codes": list(thing.segment_codes)} if thing.segment_codes else {}),
                }
                for thing in self.objects
            ],
            **({"incomplete": self.incomplete} if self.incomplete else {}),
            **({"choices": [_rounded(choice) for choice in self.choices]} if self.choices else {}),
            "image_size": list(self.image_size),
            "tokens": list(self.tokens),
            "logprobs": [round(logprob, 6) for logprob in self.logprobs],
            "timings": {name: round(value, 3) for name, value in asdict(self.timings).items()},
        }

    def to_json(self) -> str:
        """`to_dict` on one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_supervision(self) -> supervision.Detections:
        """The objects as supervision's Detections; `class_name` in its data, class ids in order of appearance.

        Raises:
            PaliJetError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise PaliJetError("supervision is not installed; run: pip install 'palijet[detections]'") from None
        if not self.objects:
            return supervision.Detections.empty()
        names = list(dict.fromkeys(thing.label for thing in self.objects))
        return supervision.Detections(
            xyxy=np.array([thing.box for thing in self.objects], dtype=np.float32),  # [n, 4]
            confidence=np.array([thing.score for thing in self.objects], dtype=np.float32),
            class_id=np.array([names.index(thing.label) for thing in self.objects]),
            data={"class_name": np.array([thing.label for thing in self.objects])},
        )

    def draw(self, image: Any) -> np.ndarray:
        """The picture with boxes, labels and text: [height, width, 3] uint8 BGR, see `draw.draw`."""
        from .draw import draw

        return draw(image, [self])


@dataclass(frozen=True)
class ZoneCount:
    """What a zone holds and what has crossed a line, since the start. A line has no `inside`, a zone counts its own edge."""

    zone: str
    inside: int
    entered: int
    left: int


@dataclass(frozen=True)
class StreamResult(Result):
    """A result of `stream`: it names its frame."""

    source: str = field(kw_only=True)
    frame_index: int = field(kw_only=True)  # from 0, as the source counts
    captured_at: float = field(kw_only=True)  # seconds since 1970 when the frame was read
    frame_age: float = field(kw_only=True)  # seconds from then to the answer
    dropped: int = field(kw_only=True)  # frames of this source that were passed over so far
    stale: bool = field(
        kw_only=True
    )  # older than the caller's limit when it was answered, or of a camera that is stale
    camera: str = field(kw_only=True, default="")  # its name, where it has one; else the source
    repeated: bool = field(kw_only=True, default=False)  # the last answer once more, for the picture had not changed
    zones: tuple[ZoneCount, ...] = field(kw_only=True, default=())  # what was counted in zones and over lines

    @property
    def frame_age_ms(self) -> float:
        """Milliseconds from the capture to the answer."""
        return self.frame_age * 1e3

    def to_dict(self) -> dict[str, Any]:
        return {
            "camera": self.camera or self.source,
            "source": self.source,
            "frame_index": self.frame_index,
            "captured_at": round(self.captured_at, 6),
            "frame_age_ms": round(self.frame_age_ms, 3),
            "stale": self.stale,
            "dropped": self.dropped,
            **({"repeated": True} if self.repeated else {}),
            **({"zones": [asdict(zone) for zone in self.zones]} if self.zones else {}),
            **super().to_dict(),
        }


def _rounded(choice: Choice) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(choice).items()}


def geometric_mean(logprobs: list[float]) -> float:
    """exp of the mean of log-probabilities; 0 of none, as when a call was cancelled before its first token."""
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0

"""A loaded bundle that answers: `load`, `predict`, `stream`."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from textwrap import shorten
from typing import TYPE_CHECKING, Any, overload

from . import _native
from .answer import ParsedObject, parse_answer
from .backend import open_backend
from .bundle import Bundle, open_bundle
from .closed_answer import choice_tokens, normalized
from .drafting import DraftMemory
from .errors import InputError
from .preprocess import Image, open_frame
from .prompt import PromptTokenizer
from .result import Choice, DetectedObject, Result, StreamResult, Timings, geometric_mean

if TYPE_CHECKING:
    from .cameras.status import StateChange
    from .stream import OneSource

DEFAULT_MAX_TOKENS = 128
_ANSWER_ROWS = 512  # room in the cache behind the image rows, for prompt and answer

OnToken = Callable[[int, int, float], None]
"""Called with the number of the prompt, a token and its log-probability, as each token is chosen."""


@dataclass(frozen=True)
class LoadOptions:
    """How a bundle is loaded."""

    backend: str = "auto"  # "tensorrt", "cuda", "cpu"; auto: TensorRT where its engines are, else the CPU
    threads: int = 0  # of inference; 0: one per physical core
    spin: bool = False  # idle threads burn their core to wake up sooner
    cpu_decoder: str = "auto"  # what decodes on the CPU: our own kernels where it has AVX-512 VNNI, else "onnxruntime"
    max_batch: int = 4  # prompts decoded together
    max_rows: int | None = None  # rows of a sequence, image, prompt and answer; None: the image's and 512 more
    drafts: bool = True  # guess tokens and verify several at once where that pays; answers are the same
    verify: bool = True  # check the sha256 of files that were not checked before

    def __post_init__(self) -> None:
        for name, least in {"threads": 0, "max_batch": 1, "max_rows": 1}.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise InputError(f"{name} is {value!r}; give a whole number of at least {least}")


def load(bundle: str | os.PathLike[str], backend: str = "auto", **options: object) -> Model:
    """Load the bundle in a folder; `options` are the fields of `LoadOptions`.

    Raises:
        BundleError: the bundle is incomplete or altered, or of another contract version.
        EngineError: the backend is not there or refuses the graphs.
    """
    known = {field.name for field in fields(LoadOptions)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(f"load has no option {unknown[0]}; it has {', '.join(sorted(known))}")
    return Model(open_bundle(bundle, verify=bool(options.get("verify", True))), LoadOptions(backend, **options))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Encoded:
    """Pictures that went through the vision encoder."""

    images: _native.EncodedImages | None  # None: cancelled
    sizes: tuple[tuple[int, int], ...]  # width and height of each picture, pixels
    timings: _native.Timings


@dataclass(frozen=True)
class Question:
    """A prompt about one picture of an encoded batch."""

    image: int  # which of them, from 0
    prompt: str
    camera: Hashable | None = None  # whose last answer to the prompt is guessed to hold; None: no answer
    max_tokens: int | None = None  # of the answer; None: 128, or what the cache has room for
    choices: Sequence[str] | None = None  # the answers that there are; None: any


class Model:
    """A loaded bundle. Calls from several threads queue; results never mix. Its memory is given back with the last reference."""

    def __init__(self, bundle: Bundle, options: LoadOptions | None = None) -> None:
        self.bundle = bundle
        self.options = options or LoadOptions()
        manifest = bundle.manifest
        backend = open_backend(
            bundle,
            self.options.backend,
            threads=self.options.threads,
            spin=self.options.spin,
            cpu_decoder=self.options.cpu_decoder,
        )
        self.backend, self.backend_note, self.engine_version = backend.name, backend.note, backend.version
        self._device = backend.device
        table = manifest.embeddings
        embeddings = _native.EmbeddingTable(
            str(bundle.embeddings), rows=table.rows, width=table.width, dtype=table.dtype, scale=table.scale
        )
        self.max_rows = self._rows()
        self._tokenizer = PromptTokenizer(bundle.tokenizer)
        self._drafts = DraftMemory(self._tokenizer) if self.options.drafts else None
        self._pipeline = _native.Pipeline(
            backend.vision,
            backend.decoder,
            embeddings,
            image_size=manifest.vision.image_size,
            max_rows=self.max_rows,
            max_batch=self.options.max_batch,
        )

    @overload
    def predict(
        self,
        image: Image,
        prompt: str,
        *,
        max_tokens: int | None = None,
        choices: Sequence[str] | None = None,
        camera: Hashable | None = None,
        on_token: OnToken | None = None,
        cancel: _native.CancelToken | None = None,
    ) -> Result: ...

    @overload
    def predict(
        self,
        image: Image,
        prompt: Sequence[str],
        *,
        max_tokens: int | None = None,
        choices: Sequence[str] | None = None,
        camera: Hashable | None = None,
        on_token: OnToken | None = None,
        cancel: _native.CancelToken | None = None,
    ) -> list[Result]: ...

    def predict(
        self,
        image: Image,
        prompt: str | Sequence[str],
        *,
        max_tokens: int | None = None,
        choices: Sequence[str] | None = None,
        camera: Hashable | None = None,
        on_token: OnToken | None = None,
        cancel: _native.CancelToken | None = None,
    ) -> Result | list[Result]:
        """Answer one prompt, or several in one batch over one encoding of the picture.

        image: a BGR uint8 array, a PIL image, a path, `Nv12`, or BGR pixels in CUDA's memory (anything with `__dlpack__` or
        `__cuda_array_interface__`, as a pycuda GPUArray), which a GPU reads where they lie. max_tokens: at most so many per
        answer; None: 128, or what the cache has room for. choices: the only answers that there are; the likeliest is the
        result's text, and `result.choices` has the probability of each. camera: what the picture comes from, by any name of
        yours; the last answer to the same prompt on it is then verified in one run of the decoder, which is all it takes where
        it still holds. cancel: its `cancel()`, from any thread, ends the call before the next token.

        Raises:
            InputError: the picture, a prompt, a choice or max_tokens cannot be answered.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(prompts, Sequence):
            raise InputError(f"a prompt must be text, or several of it; this one is of {type(prompt).__name__}")
        if choices is None:
            results = self.predict_batch(
                [(image, one) for one in prompts],
                max_tokens=max_tokens,
                camera=camera,
                on_token=on_token,
                cancel=cancel,
            )
        else:
            questions = [Question(0, one, choices=choices) for one in prompts]
            results = self.ask(self.encode([image], cancel=cancel), questions, cancel=cancel)
        return results[0] if isinstance(prompt, str) else results

    def predict_batch(
        self,
        pairs: Sequence[tuple[Image, str]],
        *,
        max_tokens: int | None = None,
        camera: Hashable | None = None,
        on_token: OnToken | None = None,
        cancel: _native.CancelToken | None = None,
        ignore_stop: bool = False,
    ) -> list[Result]:
        """Answer pairs of a picture and a prompt together; a picture that is given twice (the same object) is encoded once.

        ignore_stop: decode past end tokens to max_tokens, for measuring. All else as in `predict`.
        """
        if not pairs:
            return []
        places: dict[int, int] = {}
        frames: list[_native.Frame] = []
        image_of_prompt = []
        for image, _ in pairs:
            if id(image) not in places:
                places[id(image)] = len(frames)
                frames.append(open_frame(image, self._device))
            image_of_prompt.append(places[id(image)])
        return self._generate(
            frames,
            [frame.size for frame in frames],
            [Question(image, prompt, camera) for image, (_, prompt) in zip(image_of_prompt, pairs, strict=True)],
            max_tokens=max_tokens,
            on_token=on_token,
            cancel=cancel,
            ignore_stop=ignore_stop,
        )

    def encode(self, images: Sequence[Image], *, cancel: _native.CancelToken | None = None) -> Encoded:
        """Run the vision encoder on pictures, all at once, to ask about them later; another thread may decode meanwhile."""
        frames = [open_frame(image, self._device) for image in images]
        encoded, timings = self._pipeline.encode(frames, cancel=cancel)
        return Encoded(encoded, tuple(frame.size for frame in frames), timings)

    def ask(
        self, encoded: Encoded, questions: Sequence[Question], *, cancel: _native.CancelToken | None = None
    ) -> list[Result]:
        """Answer questions about encoded pictures, decoded together where their longest answer is the same."""
        results: dict[int, Result] = {}
        together: dict[int | None, list[int]] = {}
        for number, question in enumerate(questions):
            if question.choices is not None:
                results[number] = self._choose(encoded, question, question.choices, cancel)
            else:
                together.setdefault(question.max_tokens, []).append(number)
        for max_tokens, numbers in together.items():
            answers = self._generate(
                encoded.images,
                encoded.sizes,
                [questions[number] for number in numbers],
                max_tokens=max_tokens,
                on_token=None,
                cancel=cancel,
                before=encoded.timings,
            )
            results.update(zip(numbers, answers, strict=True))
        return [results[number] for number in range(len(questions))]

    @overload
    def stream(  # type: ignore[overload-overlap]  # a str is a sequence of str as well
        self,
        source: OneSource | Mapping[str, OneSource],
        prompt: str,
        *,
        on_change: Callable[[StateChange], None] | None = None,
        **options: Any,
    ) -> Iterator[StreamResult]: ...

    @overload
    def stream(
        self,
        source: OneSource | Mapping[str, OneSource],
        prompt: Sequence[str],
        *,
        on_change: Callable[[StateChange], None] | None = None,
        **options: Any,
    ) -> Iterator[list[StreamResult]]: ...

    def stream(
        self,
        source: OneSource | Mapping[str, OneSource],
        prompt: str | Sequence[str],
        *,
        on_change: Callable[[StateChange], None] | None = None,
        **options: Any,
    ) -> Iterator[StreamResult] | Iterator[list[StreamResult]]:
        """Answer frame after frame of a picture, a folder, a video or a camera (`sources.open_source`), or of several by name.

        Of a file every frame is answered, of a live source the newest one; a camera that is off or fails is connected anew, for
        ever. options: the fields of `stream.StreamOptions` (max_tokens, choices, every, fps, max_staleness, skip_unchanged,
        realtime, track, drafts, pipeline) and of `cameras.options.CameraOptions` (width, height, rotation, crop, transport,
        silence_s, ...). With several prompts each item is a list of results, in their order. on_change: called from a camera's
        thread when its state changes (connecting, live, stale, reconnecting, failed, ended), with the reason.

        Raises:
            SourceError: a source is none, or a file that cannot be read.
        """
        from .stream import open_watch, stream_options

        prompts = [prompt] if isinstance(prompt, str) else prompt
        with open_watch(self, source, prompts, stream_options(options), on_change) as watch:
            for answered in watch.answers():
                yield answered.results[0] if isinstance(prompt, str) else list(answered.results)  # type: ignore[misc]

    def check_prompt(self, prompt: str, *, max_tokens: int | None = None, choices: Sequence[str] | None = None) -> None:
        """See whether a prompt can be asked.

        Raises:
            InputError: the cache has no room for it and its answer, there is to be no answer, or its choices are none.
        """
        if max_tokens is not None and max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}; give 1 or more")
        rows = self.bundle.manifest.vision.rows + len(self._tokenizer.encode(prompt))
        longest = max_tokens or 1
        if choices is not None:
            longest = 1 + max(map(len, choice_tokens(choices, self._tokenizer, self.bundle.manifest.tokens.eos[0])))
        if rows + longest - 1 > self.max_rows:
            raise InputError(
                f"{shorten(prompt, 60)!r} and its answer take {rows + longest - 1} rows with the picture's, and the cache has "
                f"{self.max_rows}; shorten it or load the model with a larger max_rows"
            )

    def _generate(
        self,
        images: Sequence[_native.Frame] | _native.EncodedImages | None,
        sizes: Sequence[tuple[int, int]],
        questions: Sequence[Question],
        *,
        max_tokens: int | None,
        on_token: OnToken | None,
        cancel: _native.CancelToken | None,
        ignore_stop: bool = False,
        before: _native.Timings | None = None,
    ) -> list[Result]:
        """before: what the pictures took, where they are encoded already."""
        tokens = [self._tokenizer.encode(question.prompt) for question in questions]
        generations, timings = self._pipeline.generate(
            images,
            tokens,
            [question.image for question in questions],
            max_tokens=self._max_tokens(max_tokens, max(map(len, tokens))),
            stop_tokens=[] if ignore_stop else list(self.bundle.manifest.tokens.eos),
            drafters=self._drafts.drafters([(one.camera, one.prompt) for one in questions]) if self._drafts else (),
            on_token=on_token,
            cancel=cancel,
        )
        return [
            self._result(question.prompt, generation, sizes[question.image], _timings(timings, before, generation))
            for question, generation in zip(questions, generations, strict=True)
        ]

    def _choose(
        self, encoded: Encoded, question: Question, choices: Sequence[str], cancel: _native.CancelToken | None
    ) -> Result:
        said = choice_tokens(choices, self._tokenizer, self.bundle.manifest.tokens.eos[0])
        prompt, size = question.prompt, encoded.sizes[question.image]
        scores, timings = self._pipeline.score(
            encoded.images, question.image, self._tokenizer.encode(prompt), said, cancel=cancel
        )
        record = replace(_timings(timings, encoded.timings), decoder_calls=timings.decoder_calls)
        if len(scores) < len(said):
            return Result(prompt, "", (), (), "cancelled", None, (), "", size, record)
        logprobs = [sum(tokens) for tokens in scores]
        weighed = tuple(map(Choice, choices, normalized(logprobs), logprobs))
        best = max(range(len(said)), key=logprobs.__getitem__)
        return Result(
            prompt=prompt,
            text=choices[best],
            tokens=tuple(said[best]),
            logprobs=tuple(scores[best]),
            stop_reason="choice",
            stop_logprob=None,
            objects=(),
            incomplete="",
            image_size=size,
            timings=replace(record, tokens=len(said[best])),
            choices=weighed,
        )

    def _rows(self) -> int:
        vision, decoder = self.bundle.manifest.vision, self.bundle.manifest.decoder
        wanted = self.options.max_rows or min(vision.rows + _ANSWER_ROWS, decoder.max_positions)
        if not vision.rows < wanted <= decoder.max_positions:
            raise InputError(
                f"max_rows is {wanted}; this model needs more than its {vision.rows} image rows "
                f"and has positions for {decoder.max_positions}"
            )
        return wanted

    def _max_tokens(self, given: int | None, longest_prompt: int) -> int:
        if given is not None:
            if type(given) is not int:
                raise InputError(f"max_tokens is {given!r}; give a whole number")
            return given
        return max(1, min(DEFAULT_MAX_TOKENS, self.max_rows - self.bundle.manifest.vision.rows - longest_prompt + 1))

    def _result(
        self, prompt: str, generation: _native.Generation, image_size: tuple[int, int], timings: Timings
    ) -> Result:
        text = self._tokenizer.decode(generation.tokens)
        parsed = parse_answer(text)
        return Result(
            prompt=prompt,
            text=text,
            tokens=tuple(generation.tokens),
            logprobs=tuple(generation.logprobs),
            stop_reason=generation.stop_reason,
            stop_logprob=generation.stop_logprob,
            objects=self._objects(parsed.objects, generation, image_size),
            incomplete=parsed.incomplete,
            image_size=image_size,
            timings=timings,
        )

    def _objects(
        self, parsed: Sequence[ParsedObject], generation: _native.Generation, image_size: tuple[int, int]
    ) -> tuple[DetectedObject, ...]:
        """Boxes in pixels, and scores: an object's tokens go from its first place to the next object's."""
        if not parsed:
            return ()
        width, height = image_size
        locations = self._tokenizer.locations(generation.tokens)
        if parsed[-1].first_location + 4 > len(locations):  # places spelled out in letters: no tokens of their own
            spans = [(0, len(generation.tokens))] * len(parsed)
        else:
            starts = [locations[thing.first_location] for thing in parsed]
            spans = list(zip(starts, [*starts[1:], len(generation.tokens)], strict=True))
        return tuple(
            DetectedObject(
                label=thing.label,
                box=(
                    thing.box[0] * width,
                    thing.box[1] * height,
                    thing.box[2] * width,
                    thing.box[3] * height,
                ),
                score=geometric_mean(generation.logprobs[start:stop]),
                segment_codes=thing.codes,
            )
            for thing, (start, stop) in zip(parsed, spans, strict=True)
        )


def _timings(
    timings: _native.Timings, before: _native.Timings | None = None, generation: _native.Generation | None = None
) -> Timings:
    """The record of a call, of what came `before` it, and of one of its answers."""
    return Timings(
        preprocess=timings.preprocess_ms + (before.preprocess_ms if before else 0),
        vision=timings.vision_ms + (before.vision_ms if before else 0),
        prefill=timings.prefill_ms,
        decode=timings.decode_ms,
        total=timings.total_ms + (before.total_ms if before else 0),
        tokens=len(generation.tokens) if generation else 0,
        decoder_calls=generation.calls if generation else 0,
        drafted=generation.drafted if generation else 0,
        accepted=generation.accepted if generation else 0,
    )

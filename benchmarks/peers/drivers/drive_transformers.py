"""transformers on torch: the text decoder of a PaliGemma checkpoint as it lies there, in bfloat16; the whole of it for `answer`."""

import time
from importlib.metadata import version

import numpy as np
import torch
from clock import Clock
from logprobs import logprobs
from protocol import Answer, serve
from transformers import GemmaForCausalLM, PaliGemmaForConditionalGeneration


class Transformers:
    def load(self, model: str, threads: int, whole: bool = False, **_: object) -> Answer:
        """whole: the vision encoder as well, to answer frames."""
        torch.set_num_threads(threads)
        started = time.perf_counter()
        if whole:
            self._model = PaliGemmaForConditionalGeneration.from_pretrained(model, dtype=torch.bfloat16)
        else:
            self._model = GemmaForCausalLM.from_pretrained(
                model, config=_text_config(model), dtype=torch.bfloat16, key_mapping={r"^language_model\.": ""}
            )
        self._model.eval()
        load_s = time.perf_counter() - started
        weights = sum(weight.nbytes for weight in self._model.parameters())  # a tied one comes once
        return {
            "load_s": load_s,
            "weights_bytes": weights,
            "bytes_per_token": weights,
            "versions": {"transformers": version("transformers"), "torch": version("torch")},
        }

    @torch.inference_mode()
    def generate(self, prompt: "list[int]", count: int) -> Answer:
        clock, tokens, cache = Clock(), [], None
        step = torch.tensor([prompt])
        while len(tokens) < count:
            output = self._model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            step = output.logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(int(step))
            clock.tick()
        first, *later = clock.laps_ms()
        return {"ttft_ms": first, "token_ms": later, "tokens": tokens}

    @torch.inference_mode()
    def score(self, prompt: "list[int]", targets: "list[int]") -> Answer:
        logits = self._model(input_ids=torch.tensor([prompt]), logits_to_keep=1).logits[0, -1]
        return {"logprobs": logprobs(logits.float().numpy(), targets)}

    @torch.inference_mode()
    def reference(self, prompt: "list[int]", targets: "list[int]", count: int) -> Answer:
        """`score` and the greedy tokens with every weight, still the checkpoint's, widened to float32 where it is used."""
        _widen(self._model)
        answer = self.score(prompt, targets)
        return answer | {"tokens": self.generate(prompt, count)["tokens"]}

    @torch.inference_mode()
    def answer(self, frames: str, prompt: "list[int]", count: int) -> Answer:
        config = self._model.config
        size, rows = (
            config.vision_config.image_size,
            (config.vision_config.image_size // config.vision_config.patch_size) ** 2,
        )
        ids = torch.tensor([[config.image_token_index] * rows + prompt])
        times, answers = [], []
        for frame in np.load(frames):
            started = time.perf_counter()
            output = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                token_type_ids=torch.zeros_like(ids),  # without them the prefix would be causal
                pixel_values=_pixels(frame, size),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
            )
            times.append((time.perf_counter() - started) * 1e3)
            answers.append(output[0, ids.shape[1] :].tolist())
        return {"answer_ms": times, "tokens": answers}


def _text_config(folder: str) -> object:
    from transformers import PaliGemmaConfig

    config = PaliGemmaConfig.from_pretrained(folder).text_config
    config.tie_word_embeddings = True
    config.use_bidirectional_attention = False  # PaliGemma turns it on: its prefix is no plain text
    return config


def _pixels(frame: np.ndarray, size: int) -> torch.Tensor:
    """[1, 3, size, size] as SiglipImageProcessor makes them of BGR [height, width, 3]."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(frame[..., ::-1])).resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(picture, np.float32)).permute(2, 0, 1)[None]
    return ((pixels - 127.5) / 127.5).to(torch.bfloat16)


def _widen(model: torch.nn.Module) -> None:
    """Compute in float32 with one weight at a time in memory as such."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.forward = lambda x, layer=module: torch.nn.functional.linear(x, layer.weight.float())
        elif isinstance(module, torch.nn.Embedding):
            module.register_forward_hook(lambda layer, given, output: output.float())
        elif type(module).__name__ == "GemmaRMSNorm":
            module.float()


if __name__ == "__main__":
    model = Transformers()
    serve(
        {
            "load": model.load,
            "generate": model.generate,
            "score": model.score,
            "reference": model.reference,
            "answer": model.answer,
        }
    )

"""`optimum-cli export palijet`: installed into the namespace optimum.commands.register, where optimum looks for commands.

It takes the options of `palijet export` and hands them on; nothing is imported until it runs.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand

_OPTIONS = {
    "precision": "fp32, fp16, int8, int8-weight or int4",
    "vision-precision": "precision of the vision encoder, where it is another",
    "projector-precision": "precision of the projector, where it is another",
    "decoder-precision": "precision of the decoder's body, where it is another",
    "head-precision": "precision of the LM head, where it is another",
    "calibrate": "frames of the camera in use: a folder, a video, or a .jsonl of image, prefix and suffix",
    "calibrate-samples": "at most so many frames and prompts",
    "block": "inputs that share a scale at int8-weight and int4",
    "keep-fp16": "share of the weights that may stay at FP16 where quantization hurts",
}
_REPEATED = {
    "calibrate-prompt": "what is asked about the frames; may be given several times",
    "lora": "folder of a PEFT adapter to merge; may be given several times",
}


class PaliJetExportCommand(BaseOptimumCLICommand):  # type: ignore[misc]
    """Turn a PaliGemma checkpoint into a PaliJet bundle."""

    COMMAND = CommandInfo(name="palijet", help="Export a PaliGemma checkpoint to a PaliJet bundle for Jetson.")

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        parser.add_argument("-m", "--model", type=Path, required=True, help="folder of a PaliGemma checkpoint")
        parser.add_argument("output", type=Path, help="folder to write the bundle to")
        for name, text in _OPTIONS.items():
            parser.add_argument(f"--{name}", help=text)
        for name, text in _REPEATED.items():
            parser.add_argument(f"--{name}", action="append", default=[], help=text)
        parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")

    def run(self) -> None:
        from palijet.cli import main

        given = vars(self.args)
        command = ["palijet", "export", str(given["model"]), "--output", str(given["output"])]
        for name in _OPTIONS:
            value = given[name.replace("-", "_")]
            command += [] if value is None else [f"--{name}", value]
        for name in _REPEATED:
            for value in given[name.replace("-", "_")]:
                command += [f"--{name}", value]
        sys.argv = command + (["--overwrite"] if given["overwrite"] else [])
        main()


REGISTER_COMMANDS = [(PaliJetExportCommand, ExportCommand)]

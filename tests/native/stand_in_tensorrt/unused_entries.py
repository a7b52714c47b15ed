"""Writes classes that implement TensorRT's runtime interfaces by refusing: `unused_entries.py NvInferImpl.h > unused_entries.h`.

The stand-in derives from them and overrides what the core calls. Which entries there are differs from release to release, so
they are read out of the headers that it is compiled against.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

INTERFACES = {"VRuntime": "UnusedRuntime", "VCudaEngine": "UnusedEngine", "VExecutionContext": "UnusedContext"}
ENTRY = re.compile(
    r"(?:TRT_NODISCARD\s+)?virtual\s+(?P<result>[^()]+?)(?P<name>\w+)(?P<rest>\(.*\)[^()]*?)\s*=\s*0$", re.DOTALL
)


def implementation(header: str, interface: str, name: str) -> str:
    """The class `name`, whose every entry refuses."""
    body = re.search(rf"class {interface} : public VRoot\s*{{\s*public:(.*?)\n}};", header, re.DOTALL)
    if body is None:
        raise SystemExit(f"the header has no class {interface}")
    entries = []
    for declaration in body.group(1).split(";"):
        entry = ENTRY.match(declaration.strip())
        if entry is not None:
            signature = " ".join(f"{entry['result']}{entry['name']}{entry['rest']}".split())
            entries.append(f'    {signature} override {{ stand_in::refuse("{interface}::{entry["name"]}"); }}')
    return "\n".join([f"class {name} : public nvinfer1::apiv::{interface} {{", "  public:", *entries, "};"])


def main() -> None:
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", Path(sys.argv[1]).read_text(), flags=re.DOTALL)
    print("#pragma once\n#include <NvInfer.h>\n#include <cstdio>\n#include <cstdlib>")
    print("namespace stand_in {")
    print("[[noreturn]] inline void refuse(const char* entry) {")
    print('    std::fprintf(stderr, "the stand-in has no %s\\n", entry);\n    std::abort();\n}\n}')
    print("namespace nvinfer1 {")
    for interface, name in INTERFACES.items():
        print(implementation(text, interface, name))
    print("}")


if __name__ == "__main__":
    main()

# The two commands: `make demo` and `make test`. Both set up .venv and build the native core first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := $(wildcard cpp_ext/*.h cpp_ext/*.cpp cpp_ext/*.cu cpp_ext/bindings/*.h cpp_ext/bindings/*.cpp cmake/*.cmake)

.PHONY: demo test lint bench clean

demo: $(VENV)/ready
	$(BIN)/palijet demo --output out/demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -m "not slow and not oracle"

lint: $(VENV)/ready
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[lint]'
	$(BIN)/python .ci/headless_opencv.py
	PATH="$(CURDIR)/$(BIN):$$PATH" pre-commit run -a

# Minutes: the demo, then four layers of PaliGemma 3B at INT4. The other engines: python -m benchmarks.peers, up to an hour.
MIDSIZE := out/bench/paligemma-3b-4-layers
bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.preprocess
	$(BIN)/palijet demo --output out/demo --bundle-only
	$(BIN)/palijet bench out/demo/bundle
	$(BIN)/python -m benchmarks.streams out/demo/bundle --frames 100
	$(BIN)/python -m benchmarks.overlap out/demo/bundle
	test -d $(MIDSIZE) || $(BIN)/python -m benchmarks.shaped_checkpoint paligemma-3b-224 $(MIDSIZE) --layers 4
	test -d $(MIDSIZE)-int4 || $(BIN)/palijet export $(MIDSIZE) --precision int4 -o $(MIDSIZE)-int4
	$(BIN)/palijet bench $(MIDSIZE)-int4 --runs 3
	$(BIN)/python -m benchmarks.growth $(MIDSIZE)-int4 --most-rows 1024

clean:
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find runtime -name '_native*.so' -delete

$(VENV)/ready: pyproject.toml setup.py CMakeLists.txt $(NATIVE) .ci/headless_opencv.py
	@command -v $${CXX:-c++} >/dev/null || { echo "a C++17 compiler is needed: sudo apt install g++" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[cpu,export,test]'
	$(BIN)/python .ci/headless_opencv.py
	touch $@

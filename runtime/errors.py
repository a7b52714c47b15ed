"""Every error that PaliJet raises on purpose: one sentence that says what is wrong, where, and the mend."""


class PaliJetError(Exception):
    """The base of all of them; the command line prints its text and exits with 1."""


class BundleError(PaliJetError):
    """A bundle that is incomplete, altered, of another contract version, or that cannot be written."""


class CheckpointError(PaliJetError):
    """A checkpoint that cannot be read or is not a PaliGemma."""


class CalibrationError(PaliJetError):
    """Calibration data that is missing, unusable, or that makes a model compute what is no number."""


class EngineError(PaliJetError):
    """An inference library that is missing or of a wrong version, or a graph that it refuses or fails to run."""


class InputError(PaliJetError, ValueError):
    """An image, a prompt or an option that cannot be answered."""


class SourceError(PaliJetError):
    """A source of frames that cannot be opened or read."""


class SinkError(PaliJetError):
    """A sink that cannot be opened, or that did not take a result."""

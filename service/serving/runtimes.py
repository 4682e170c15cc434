"""What computes: PyTorch or ONNX Runtime, as the bundle's own measurement chose or a setting forces.

Every runtime answers like the plain forward pass in float32; bfloat16 is for those who ask for it by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import structlog
import torch

from autoencoders import bundle
from autoencoders.training.aligned import aligned

Float32 = npt.NDArray[np.float32]
RuntimeName = Literal["torch", "onnx"]
Precision = Literal["float32", "bfloat16"]
log = structlog.get_logger("service")


@dataclass(frozen=True)
class Wished:
    """What the operator says of every model.

    Attributes:
        runtime: `auto` follows the bundle.
        precision: `auto` follows the bundle.
        threads: of one forward pass.
        spin: whether ONNX Runtime's threads wait for work by spinning.
    """

    runtime: Literal["auto", "torch", "onnx"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = 1
    spin: bool = False


AS_PUBLISHED = Wished()


class Runtime(Protocol):
    """A model that computes on flat float32 rows in raw units."""

    @property
    def name(self) -> RuntimeName:
        """What computes."""

    @property
    def precision(self) -> Precision:
        """In which numbers."""

    @property
    def bytes(self) -> int:
        """What it holds in memory, about."""

    def encode(self, rows: Float32) -> Float32:
        """Codes `[n, code]` of raw rows `[n, features]`."""

    def decode(self, codes: Float32) -> Float32:
        """Raw rows `[n, features]` of codes `[n, code]`."""

    def outputs(self, codes: Float32) -> Float32:
        """The same in scaled units, in which errors are measured."""


class Torch:
    """PyTorch, operation by operation, on any device.

    Args:
        trained: the model; it may be turned into bfloat16 here.
        precision: of weights and activations; what comes out is float32.
    """

    name: RuntimeName = "torch"

    def __init__(self, trained: bundle.TrainedModel, precision: Precision) -> None:
        self.precision: Precision = precision
        self._affine, self._device = trained.affine, trained.device
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._model = trained.model.to(self._dtype)
        tensors = (*self._model.parameters(), *self._model.buffers())
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @torch.inference_mode()
    def encode(self, rows: Float32) -> Float32:
        """Codes of raw rows."""
        return self._out(self._model.encode(self._in(self._affine.apply(rows))))

    def decode(self, codes: Float32) -> Float32:
        """Raw rows of codes."""
        return self._affine.invert(self.outputs(codes))

    @torch.inference_mode()
    def outputs(self, codes: Float32) -> Float32:
        """Scaled rows of codes."""
        return self._out(self._model.decode(self._in(codes)))

    def _in(self, rows: Float32) -> torch.Tensor:
        # Arrays over a request's bytes are read-only, which torch warns of though it only copies them.
        return aligned(rows if rows.flags.writeable else rows.copy(), self._device).to(self._dtype)

    def _out(self, made: torch.Tensor) -> Float32:
        array: Float32 = made.float().cpu().numpy()
        return array


class Onnx:
    """ONNX Runtime on the CPU, from the graphs in the bundle, which hold the scaling too.

    Args:
        folder: the bundle.
        trained: the scaling; its weights are not kept.
        wished: threads and how they wait.
    """

    name: RuntimeName = "onnx"
    precision: Precision = "float32"

    def __init__(self, folder: Path, trained: bundle.TrainedModel, wished: Wished) -> None:
        self._affine = trained.affine
        options = session_options(wished)
        self._encode = onnxruntime.InferenceSession(
            folder / bundle.ENCODER, options, ["CPUExecutionProvider"]
        ).run
        decoder = onnxruntime.InferenceSession(folder / bundle.DECODER, options, ["CPUExecutionProvider"])
        self._decode = decoder.run
        self._says_scaled = bundle.SCALED in {output.name for output in decoder.get_outputs()}
        self.bytes = sum((folder / name).stat().st_size for name in (bundle.ENCODER, bundle.DECODER))

    def encode(self, rows: Float32) -> Float32:
        """Codes of raw rows."""
        codes: Float32 = self._encode(None, {bundle.INPUT: rows})[0]
        return codes

    def decode(self, codes: Float32) -> Float32:
        """Raw rows of codes."""
        rows: Float32 = self._decode([bundle.RECONSTRUCTION], {bundle.CODE: codes})[0]
        return rows

    def outputs(self, codes: Float32) -> Float32:
        """Scaled rows of codes; of graphs that do not say them, as exact as raw rows are."""
        if not self._says_scaled:
            return self._affine.apply(self.decode(codes))
        scaled: Float32 = self._decode([bundle.SCALED], {bundle.CODE: codes})[0]
        return scaled


def device_of(asked: str) -> torch.device:
    """The device that a setting asks for; `auto` is the GPU where there is one."""
    if asked == "gpu" or (asked == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


def session_options(wished: Wished) -> onnxruntime.SessionOptions:
    """How a session computes: so many threads, which sleep while they wait unless told to spin.

    Threads that spin answer a single row sooner and starve a training on the same cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wished.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if wished.spin else "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def open_runtime(folder: Path, trained: bundle.TrainedModel, wished: Wished) -> Runtime:
    """The runtime that computes a bundle: the setting's, else the bundle's own choice, else PyTorch.

    ONNX Runtime needs the graphs in the bundle, float32 and the CPU; whatever lacks one is PyTorch's.
    """
    chosen = trained.manifest.inference
    measured: tuple[RuntimeName, Precision] = (
        ("torch", "float32") if chosen is None else (chosen.runtime, chosen.precision)
    )
    runtime = measured[0] if wished.runtime == "auto" else wished.runtime
    precision = measured[1] if wished.precision == "auto" else wished.precision
    graphs = all((folder / name).is_file() for name in (bundle.ENCODER, bundle.DECODER))
    if runtime == "onnx" and graphs and precision == "float32" and trained.device.type == "cpu":
        try:
            return Onnx(folder, trained, wished)
        except Exception as problem:  # onnxruntime's own classes have no common name
            log.warning(
                "onnx graphs cannot be read; torch computes", folder=str(folder), problem=str(problem)
            )
    return Torch(trained, precision)

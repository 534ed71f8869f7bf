# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What peers run where Lathe quantizes: models that ONNX Runtime's own quantizers write, which OpenVINO reads too."""
import os
import tempfile
from pathlib import Path


def write(model, precision, folder):
    """A quantized copy of an ONNX file, made once: "int8" are weights of 8 bits and activations rounded as the model runs, "int4" weights of
    4 bits in groups of 32, multiplied with activations of 8 bits (accuracy level 4), which is fastest there."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{Path(model).stem}.onnx"
    if target.exists() and target.stat().st_mtime > Path(model).stat().st_mtime:
        return target
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / target.name
        if precision == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(model, made, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1})
        else:
            import onnx
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

            quantizer = MatMulNBitsQuantizer(onnx.load(model), block_size=32, is_symmetric=True, accuracy_level=4)
            quantizer.process()
            onnx.save(quantizer.model.model, made)
        os.replace(made, target)
    return target

"""A trained model for other programs: ONNX graphs, a Triton model repository, safetensors with a card.

The graphs take and give rows in the dataset's own units; the scaling is a part of them. Everything here but
the graphs themselves works without onnx and onnxruntime, which are imported where they are used.
"""

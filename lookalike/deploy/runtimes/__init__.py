"""What computes the features of a model folder: onnxruntime, OpenVINO, PyTorch, or the fastest of them."""

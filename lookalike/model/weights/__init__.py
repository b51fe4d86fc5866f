"""Weights from elsewhere: files of the reference, safetensors, PyTorch files, addresses."""

"""What runs the layers of an encoder: OpenVINO, ONNX Runtime, PyTorch."""

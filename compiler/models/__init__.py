"""Models: recipes, conversion to ONNX, lowering of encoders, parity."""

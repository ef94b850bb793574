"""A look inside a published model: what its gates do over an input, and what they are good for.

Works from model.onnx and metadata.json alone, for a model of any task.
"""

"""The engines: each module runs programs of one format with one library, behind the protocol of `engine.py`.

A module here imports its library at its top and is itself imported only when its engine is tried: a server that runs ONNX
Runtime never pays for torch.
"""

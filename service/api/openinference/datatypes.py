"""The datatype names of the Open Inference Protocol, shared by its REST and its gRPC form."""

from typing import Any

import numpy as np

# Little-endian on the wire. BYTES and BF16 have no numpy dtype, and no tensor of ours is of them.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = {dtype.name: datatype for datatype, dtype in DTYPES.items()}  # "float32": "FP32"

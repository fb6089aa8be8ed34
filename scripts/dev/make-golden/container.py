# SPDX-License-Identifier: Apache-2.0
"""The container of goldens that are no models: a GGUF file of architecture "golden"."""

import numpy as np
from gguf import GGUFWriter


class Golden:
    def __init__(self, path, made_by):
        self.writer = GGUFWriter(path, "golden")
        self.writer.add_string("golden.made_by", made_by)

    def text(self, key, value):
        self.writer.add_string(key, value)

    def number(self, key, value):
        if isinstance(value, int):
            self.writer.add_uint32(key, value)
        else:
            self.writer.add_float32(key, float(value))

    def array(self, name, values, dtype):
        self.writer.add_tensor(name, np.ascontiguousarray(np.asarray(values).astype(dtype)))

    def blocks(self, name, data, kind):
        """A tensor of GGUF type `kind` from its bytes."""
        self.writer.add_tensor(name, np.ascontiguousarray(data).view(np.uint8), raw_dtype=kind)

    def save(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()

# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Prints the first GPU of this machine, or ends with the reason why there is none. The driver is asked itself: it is all that Lathe needs
of a machine to run there."""
import ctypes
import sys

try:
    driver = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    sys.exit(f"there is no NVIDIA driver: {error}")
if status := driver.cuInit(0):
    sys.exit(f"the NVIDIA driver does not start: cuInit gave error {status}")
count, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
driver.cuDeviceGetCount(ctypes.byref(count))
if count.value == 0:
    sys.exit("the NVIDIA driver finds no GPU")
driver.cuDriverGetVersion(ctypes.byref(version))
driver.cuDeviceGetName(name, len(name), 0)
print(f"{name.value.decode()}, driver for CUDA {version.value // 1000}.{version.value % 1000 // 10}")

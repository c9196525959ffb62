"""Files of samples and tensors on this machine: read, written, packed, drawn and looked at."""

from .bnnd import KINDS, Dataset, info, read_bnnd, write_bnnd
from .folders import read_folder
from .packing import are_bytes, pack
from .preview import preview
from .readers import CIFAR_RECORD, is_cifar, read_cifar, read_idx, read_npy, read_npz
from .table import read_csv

__all__ = [
    "CIFAR_RECORD",
    "KINDS",
    "Dataset",
    "are_bytes",
    "info",
    "is_cifar",
    "pack",
    "preview",
    "read_bnnd",
    "read_cifar",
    "read_csv",
    "read_folder",
    "read_idx",
    "read_npy",
    "read_npz",
    "write_bnnd",
]

"""Choice of device and precision, and the settings of a process."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlgns.agents.compute.precision import autocast, choose_device, choose_precision, has_bfloat16, prepare_process

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert choose_precision("float32", CPU) == "float32"
    assert choose_precision("bfloat16", CPU) == "bfloat16"


def test_auto_is_bfloat16_where_this_cpu_multiplies_it() -> None:
    flags = ""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        pytest.skip("no /proc/cpuinfo to compare with")
    if not flags:
        pytest.skip("/proc/cpuinfo names no flags")
    words = set(flags.split())
    assert has_bfloat16(CPU) == bool(words & {"avx512_bf16", "amx_bf16"})
    assert choose_precision("auto", CPU) == ("bfloat16" if has_bfloat16(CPU) else "float32")


def test_autocast_is_on_for_bfloat16_alone() -> None:
    for precision, expected in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(CPU, precision):
            assert torch.ones(2, 2).matmul(torch.ones(2, 2)).dtype == expected


def test_device_names() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match=r"engine.device: cuda was asked for"):
        choose_device("cuda")


def test_a_prepared_process_flushes_denormals() -> None:
    threads = torch.get_num_threads()
    try:
        prepare_process(1)
        assert torch.get_num_threads() == 1
        assert (torch.tensor([1e-30]) * torch.tensor([1e-10])).item() == 0.0
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


TF32 = """
import torch
from rlgns.agents.compute.precision import prepare_process
torch.backends.cudnn.allow_tf32 = True
torch.backends.cuda.matmul.allow_tf32 = True
prepare_process(1)
cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
print(cudnn.allow_tf32, cuda.allow_tf32, torch.get_float32_matmul_precision(), "tf32" in cudnn.conv.fp32_precision)
"""


def test_a_prepared_process_computes_float32_in_float32() -> None:
    """The flags that cuDNN and cuBLAS read; in a process of its own, since they are the process's."""
    done = subprocess.run([sys.executable, "-c", TF32], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False", "highest", "False"]


FAULTS = """
import resource, sys, torch
from rlgns.agents.compute.precision import keep_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_memory()
def work():
    blocks = [torch.ones(3_000_000) for _ in range(3)]
    del blocks
for _ in range(10):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    def faults(mode: str) -> int:
        # Fixed, since glibc adapts them by itself, and whether that helps depends on the layout of memory.
        fixed = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
        command = [sys.executable, "-c", FAULTS, mode]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **fixed}
        )
        return int(done.stdout)

    assert faults("keep") < 1000 < 100_000 < faults("default")

"""What the Dockerfile deletes from the installed packages: the command itself, run on folders of empty files."""

import re
import subprocess
from pathlib import Path

import pytest

DOCKERFILE = Path(__file__).resolve().parents[2] / "docker" / "Dockerfile"

KEPT = """
numpy/__init__.py numpy/testing/__init__.py pandas/__init__.py pyarrow/lib.so scipy/__init__.py sympy/__init__.py
torch/__init__.py torch/bin/torch_shm_manager torch/lib/libtorch_cuda.so torch/testing/__init__.py ray/__init__.py
"""
KEPT_OF_CUDA = """
triton-3.7.1.dist-info/METADATA nvidia/cu13/lib/libcublasLt.so.13 nvidia/cu13/lib/libcusolver.so.12
nvidia/cu13/lib/libnvrtc.so.13 nvidia/cu13/lib/libnvrtc-builtins.so.13.0 nvidia/cudnn/lib/libcudnn.so.9
nvidia/nvshmem/lib/libnvshmem_host.so.3 nvidia/cusparselt/lib/libcusparseLt.so.0
"""
DELETED = """
numpy/tests/test_a.py pandas/io/tests/test_b.py pyarrow/tests/test_c.py scipy/stats/tests/test_d.py
sympy/core/tests/test_e.py torch/include/torch/torch.h torch/bin/protoc ray/jars/ray_dist.jar
"""
DELETED_OF_CUDA = """
triton/__init__.py triton/_C/libtriton.so nvidia/cu13/lib/libcusolverMg.so.12 nvidia/cu13/lib/libnvrtc.alt.so.13
nvidia/cu13/lib/libnvrtc-builtins.alt.so.13.0 nvidia/nvshmem/lib/libnvshmem_device.bc
nvidia/nvshmem/lib/libnvshmem_device.a
"""


def deletion(folder: Path) -> str:
    """The Dockerfile's command, for the packages in a folder."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^RUN cd /opt/rlgns/lib/python3.11/site-packages +(&& .+)$", text, re.MULTILINE)
    return f"cd {folder} {command}"


@pytest.mark.parametrize("cuda", [False, True])
def test_exactly_what_is_not_used_is_deleted(cuda: bool, tmp_path: Path) -> None:
    kept, deleted = KEPT.split(), DELETED.split()
    kept += KEPT_OF_CUDA.split() if cuda else []
    deleted += DELETED_OF_CUDA.split() if cuda else []
    for name in kept + deleted:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    subprocess.run(["sh", "-ec", deletion(tmp_path)], check=True)
    assert {f"{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
    assert not (tmp_path / "triton").exists()  # an empty folder could be imported

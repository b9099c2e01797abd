"""The notebook: as committed it has outputs, and a kernel runs it from top to bottom with a smaller training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import ray

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_run.ipynb"

TINY = """\
settings = {
    "config": "quick",
    "observations": 512,
    "env": {"num_envs": 4, "image_size": 32, "stagger_steps": 4},
    "network": {"channels": [4], "kernels": [8], "strides": [8], "hidden": 16},
    "agent": {"rollout_steps": 64, "epochs": 1, "minibatches": 2},
}"""


def printed(notebook: Any) -> str:
    """All text of a notebook's outputs."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text", "") or str(output.get("data", {})) for output in outputs)


def check_results(text: str) -> None:
    estimate = r"[\d,]+ \([\d,]+ to [\d,]+\) observations \(95 %\)$"
    assert re.search(r"^Critical batch .*calibrated on", text, re.MULTILINE)
    assert re.search(rf"^Pong, score [-\d.]+: critical batch {estimate}", text, re.MULTILINE)
    assert re.search(r"^noise scale (at least )?[\d,]+.* observations \(95 %\)$", text, re.MULTILINE)


def test_it_is_committed_with_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    check_results(printed(notebook))
    assert not re.search(r"/(home|root|tmp|work)/", printed(notebook))
    assert NOTEBOOK.stat().st_size < 200_000


def test_a_kernel_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: None) -> None:
    """A real one, in a process of its own; it trains in the Ray of these tests, which saves it starting one."""
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = TINY
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    check_results(printed(notebook))
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "report.html").is_file()

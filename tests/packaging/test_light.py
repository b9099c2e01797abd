"""`pip install rlgns` without an extra: torch, numpy and scipy alone measure, fit, and say what they lack."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlgns.commands.cli import COMMANDS, WITHOUT_TRAINER
from rlgns.extras import TRAINER
from tests.packaging.installing import (
    ENVIRONMENT,
    ROOT,
    bare_environment,
    link_distribution,
    packages_of,
    pip,
    run,
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]

RECIPE = """
import importlib.util, torch, rlgns
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
monitor = rlgns.NoiseScaleMonitor(model, groups=8)
for _ in range(20):
    batch = torch.randn(64, 4)
    with monitor.step(observations=len(batch)):
        for part in batch.chunk(8): monitor.backward((model(part) - part.sum(1, keepdim=True)).square().mean())
    optimizer.step()
print(monitor.estimate())
print(rlgns.fit_pareto([64, 128, 256, 512], [9000, 5100, 3200, 2100]))
print(len(rlgns.fit_pareto(rlgns.paper_points())))
from rlgns.adapters.measurement import calibration_for
print(calibration_for(algorithm="a2c", epochs=1).name)
print([name for name in ("ray", "gymnasium", "ale_py", "wandb", "yaml", "rich") if importlib.util.find_spec(name)])
"""


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with rlgns's wheel and what its metadata asks for without extras."""
    python = bare_environment(tmp_path_factory.mktemp("light") / "venv")
    pip(python, "install", wheel)
    (about,) = importlib.metadata.distributions(name="rlgns", path=[str(packages_of(python))])
    for requirement in map(Requirement, about.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            link_distribution(requirement.name, packages_of(python))
    run(sys.executable, "-m", "pip", "--python", python, "check", cwd=ROOT.parent)
    return python


def test_the_recipe_runs_and_nothing_of_the_trainer_is_there(light: Path) -> None:
    estimate, fit, games_and_goals, calibration, found = run(light, "-c", RECIPE, cwd=light.parent).splitlines()
    assert estimate.startswith("noise scale ") and "observations (95 %)" in estimate
    assert fit.startswith("critical batch ")
    assert (int(games_and_goals), calibration, found) == (30, "a2c", "[]")


def test_schedule_reads_what_hosts_log(light: Path, tmp_path: Path) -> None:
    rows = [
        {"noise/observations": 10_000 * k, "noise/batch_observations": 512}
        | {f"noise/now{end}": 2000.0 * k * factor for end, factor in (("", 1), ("_low", 0.9), ("_high", 1.1))}
        for k in range(1, 21)
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": rows}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.yaml").write_text("config: {}\n")
    rlgns = light.parent / "rlgns"
    for name in ("trainer_state.json", "metrics.jsonl"):
        assert "from observation" in run(rlgns, "schedule", name, cwd=tmp_path)
    command = [rlgns, "schedule", "."]
    ran = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and ran.stdout == ""
    assert ran.stderr == (
        "rlgns: . is a run's folder, which needs the trainer: pip install 'rlgns[train]', or name its metrics.jsonl, "
        "which does not\n"
    )


def test_a_command_that_lacks_the_trainer_says_so_in_one_line(light: Path, tmp_path: Path) -> None:
    rlgns = light.parent / "rlgns"
    assert "rlgns train" in run(rlgns, "--help", cwd=tmp_path)
    assert "pong" in run(rlgns, "games", cwd=tmp_path)
    assert "Breakout" in run(rlgns, "fit", ROOT / "configs" / "paper" / "pareto_points.csv", cwd=tmp_path)
    ran = subprocess.run([rlgns, "train"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "rlgns: rlgns train needs the trainer: pip install 'rlgns[train]'\n"
    assert not list(tmp_path.iterdir())
    assert set(WITHOUT_TRAINER) < set(COMMANDS)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("rlgns.train('pong')", "rlgns.train needs the trainer: pip install 'rlgns[train]'"),
        ("rlgns.load_run('x')", "rlgns.load_run needs the trainer: pip install 'rlgns[train]'"),
        ("import rlgns.adapters.sb3", "rlgns.adapters.sb3 needs Stable-Baselines3: pip install 'rlgns[sb3]'"),
        ("import rlgns.adapters.rllib", "rlgns.adapters.rllib needs RLlib 2.60: pip install 'rlgns[rllib]'"),
        ("import rlgns.adapters.trl", "rlgns.adapters.trl needs TRL: pip install 'rlgns[trl]'"),
        ("import rlgns.adapters.lightning", "rlgns.adapters.lightning needs Lightning: pip install 'rlgns[lightning]'"),
    ],
)
def test_python_says_what_it_lacks(light: Path, code: str, words: str) -> None:
    command = [light, "-c", f"import rlgns; {code}"]
    ran = subprocess.run(command, cwd=light.parent, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and ran.stderr.splitlines()[-1].endswith(f"Error: {words}")


def test_a_dependency_that_is_not_declared_would_be_found(wheel: Path, tmp_path: Path) -> None:
    """The twin that must fail: the recipe without scipy."""
    python = bare_environment(tmp_path / "venv")
    pip(python, "install", wheel)
    for name in ("torch", "numpy"):
        link_distribution(name, packages_of(python))
    ran = subprocess.run([python, "-c", RECIPE], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "No module named 'scipy'" in ran.stderr


def test_every_requirement_has_a_pin_within_its_range() -> None:
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINNED}
    extras = PROJECT["optional-dependencies"]
    for text in PROJECT["dependencies"] + [one for texts in extras.values() for one in texts]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == "rlgns":
            assert requirement.extras <= extras.keys()
        elif name != "packaging":
            assert requirement.specifier.contains(pins[name]), f"{text}: pinned {pins[name]}"
    assert {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]} == {
        "torch",
        "numpy",
        "scipy",
    }
    assert TRAINER in extras


def test_the_classifiers_pythons_have_wheels() -> None:
    """Skipped without a package index. Wheels for one version of Python alone: those with compiled code."""
    named = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if c.startswith("Programming Language")]
    assert named == ["3.11", "3.12", "3.13"] and PROJECT["requires-python"] == ">=3.11"
    compiled = ("torch", "numpy", "scipy", "ray", "ale-py")
    asked = {}
    for pin in PINNED:
        for version in named if pin.name in compiled else []:
            command = [sys.executable, "-m", "pip", "index", "versions", pin.name, "--only-binary=:all:"]
            command += ["--disable-pip-version-check", "--retries=1", "--python-version", version]
            asked[pin, version] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    answers = {case: process.communicate() for case, process in asked.items()}
    if not any(output for output, _ in answers.values()):
        pytest.skip("no package index answers")
    assert len(answers) == len(compiled) * len(named)
    for (pin, version), (output, errors) in answers.items():
        found = next((line for line in output.splitlines() if line.startswith("Available versions: ")), errors)
        pinned = next(iter(pin.specifier)).version
        assert pinned in found.replace(",", " ").split(), f"no wheel of {pin} for Python {version}: {found[:200]}"

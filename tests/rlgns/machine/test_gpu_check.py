"""What the doctor says of GPUs; facts are made up, since this machine may have none."""

import dataclasses

import pytest

from rlgns.machine.gpu_check import GpuFacts, gpu_facts, gpu_remedy

GOOD = GpuFacts(
    built_for="12.8",
    usable=1,
    capability=(9, 0),
    architectures=("sm_80", "sm_90", "compute_90"),
    driver="570.86.15",
    has_tool=True,
    cores=16,
)
NONE = dataclasses.replace(GOOD, usable=0, capability=None, architectures=())


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (GOOD, ""),
        (dataclasses.replace(GOOD, capability=(8, 6)), ""),  # code for 8.0 runs on 8.6
        (dataclasses.replace(GOOD, capability=(10, 0)), ""),  # compiled from compute_90
        (dataclasses.replace(GOOD, capability=(7, 5)), "no code for the GPU's architecture sm_75"),
        (dataclasses.replace(GOOD, capability=(10, 0), architectures=("sm_80", "sm_90")), "sm_100"),
        (dataclasses.replace(GOOD, cores=4), "4 cores for a GPU"),
        (dataclasses.replace(GOOD, usable=4), "16 cores for 4 GPUs"),
        (NONE, "this torch (CUDA 12.8) cannot use it"),
        (dataclasses.replace(NONE, driver="470.82.01"), "470.82.01 is too old for this torch (CUDA 12.8): update it"),
        (dataclasses.replace(NONE, driver="525.60.13"), "cannot use it"),
        (dataclasses.replace(NONE, built_for=None), "built for the CPU: install the CUDA build"),
        (dataclasses.replace(NONE, built_for=None, driver="", has_tool=False), ""),
    ],
)
def test_a_gpu_that_cannot_be_used_well_gets_one_line(facts: GpuFacts, said: str) -> None:
    remedy = gpu_remedy(facts)
    assert said in remedy
    assert bool(said) == bool(remedy)
    assert "\n" not in remedy


def test_this_machines_facts_can_be_read() -> None:
    facts = gpu_facts(2)
    assert facts.cores == 2
    assert (facts.capability is None) == (facts.usable == 0)

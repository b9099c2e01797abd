"""Which requirements a cluster lacks, and the probe that finds out."""

from __future__ import annotations

from rlgns.submit.requirements import missing_requirements, parse_probe


def test_missing_requirements_are_named_as_pip_takes_them() -> None:
    requirements = [
        "torch==2.13.0",
        "ray==2.60.0",
        "numpy>=2.0,<3",
        "ruff==1; extra == 'dev'",
        "Py_Yaml>6",
    ]
    found = {"torch": "2.13.0+cpu", "ray": "2.60.0", "numpy": "1.26.0"}
    assert missing_requirements(found, requirements) == ["numpy<3,>=2.0", "Py_Yaml>6"]
    assert missing_requirements({"numpy": "2.1"}, ["a-b[x]==1"]) == ["a-b[x]==1"]


def test_requirements_of_rays_extras_are_missing_from_a_bare_ray() -> None:
    bare = {"ray": "2.60.0", "requests": "2.32", "pydantic": "2.10", "PyYAML": "6.0"}
    missing = missing_requirements(bare, ["ray[default,rllib]==2.60.0", "gymnasium==1.2.2"])
    assert missing[0] == "gymnasium==1.2.2"
    assert {"lz4", "dm_tree", "scipy", "aiohttp_cors"} <= set(missing)
    assert not {"ray", "requests", "pydantic", "pyyaml"} & {name.lower().split("[")[0] for name in missing}
    assert len(missing) == len(set(missing))


def test_a_probe_is_read_among_other_lines() -> None:
    log = 'INFO setting up\nRLGNS{"python": "3.11", "found": {"ray": "2.60.0"}}\n'
    assert parse_probe(log) == ("3.11", {"ray": "2.60.0"})
    assert parse_probe("Traceback\n") is None

"""No key of this machine goes to a cluster: neither one of the environment nor one of a file of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.errors import UserError
from rlgns.submit import package
from rlgns.submit.secret_check import refuse_secrets


def test_a_key_is_refused_and_named_by_its_variable(tmp_path: Path) -> None:
    environment = {"WANDB_API_KEY": "sesame-sesame", "EDITOR_TOKEN": "short", "HOME": "/home/sesame-open"}
    refuse_secrets({"the command": "train --out /home/sesame-open short"}, environment)
    (tmp_path / package.CONFIG_FOLDER).mkdir()
    (tmp_path / package.CONFIG_FOLDER / "mine.yaml").write_text("run:\n  name: sesame-sesame\n")
    with pytest.raises(UserError, match=r"^mine.yaml holds the value of WANDB_API_KEY") as refusal:
        refuse_secrets(package.sent_texts("train", tmp_path), environment)
    assert "sesame" not in str(refusal.value)


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_PAT",
        "DB_PASS",
        "AWS_ACCESS_KEY_ID",
        "HF_KEY",
        "PGPASSWORD",
        "OPENAI_APIKEY",
        "MY_DB_PWD",
        "AUTH_TOKENS",
        "SSHKEY",
    ],
)
def test_every_usual_name_of_a_key_counts(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"the command holds the value of {name}"):
        refuse_secrets({"the command": "train --run.name sesame-sesame"}, {name: "sesame-sesame"})


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "PATH", "KEYBOARD", "PATTERN", "COMPASS", "MONKEY_ISLAND"])
def test_other_names_do_not(tmp_path: Path, name: str) -> None:
    refuse_secrets({"the command": "train --out /home/me/runs"}, {name: "/home/me/runs"})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".netrc", "machine api.wandb.ai\n  login user\n  password {}\n"),
        (".aws/credentials", "[default]\naws_access_key_id = {}\nregion = eu-central-1\n"),
        (".cache/huggingface/token", "{}"),
        (".ray/auth_token", "{}\n"),
        ("named.json", '{{\n  "type": "service_account", "private_key": "{}"\n}}'),
    ],
)
def test_the_keys_of_key_files_are_refused(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text.format("sesame-sesame-sesame"))
    environment = {"HOME": str(tmp_path), "MY_CREDENTIALS": str(tmp_path / "named.json")}
    refuse_secrets({"the command": "train --run.name api.wandb.ai --run.seed 3 --out /eu-central-1"}, environment)
    with pytest.raises(UserError, match=rf"the command holds a key of .*{file}") as refusal:
        refuse_secrets({"the command": "train --run.name sesame-sesame-sesame"}, environment)
    assert "sesame" not in str(refusal.value)


def test_the_path_of_a_key_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")
    environment = {"MY_KEY_FILE": str(tmp_path / "key.json"), "BINARY_KEY": str(tmp_path)}
    refuse_secrets({"the command": f"train --out {tmp_path / 'key.json'}"}, environment)

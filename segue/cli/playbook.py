"""A playbook as the script of a step: the host's own ansible-playbook carries it out on that host. It runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

END: Final = "END_OF_THE_PLAYBOOK"
SCRIPT: Final = """\
command -v ansible-playbook >/dev/null || {{
  echo 'ansible-playbook is not installed on this host: apt-get install ansible-core' >&2; exit 127; }}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/playbook.yml" <<'{end}'
{text}
{end}
ansible-playbook --connection local --inventory "$(hostname)," "$folder/playbook.yml"
"""


def script(path: Path) -> str:
    """For /bin/sh -e. Raises ValueError, OSError for what is no playbook: a list of plays, each with `hosts`."""
    text = path.read_text()
    plays = yaml.safe_load(text)
    if (
        not isinstance(plays, list)
        or not plays
        or not all(isinstance(p, dict) and "hosts" in p for p in plays)
    ):
        raise ValueError(f"{path} is no playbook: that is a list of plays, each with `hosts`")
    if END in text:
        raise ValueError(f"{path} holds the line {END}, which a playbook for a step must not")
    return SCRIPT.format(text=text.rstrip("\n"), end=END)

"""Settings that several formats share: version, repository, title; each from one place.

The version is that of pyproject.toml, the rest of `_config.yml`. `REPOSITORY=` in the
environment names another address, such as a fork's.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

import yaml


def project_version(root: Path) -> str:
    """The version in pyproject.toml, "0" without one."""
    file = root / "pyproject.toml"
    project = tomllib.loads(file.read_text())["project"] if file.exists() else {}
    return str(project.get("version", "0"))


def settings(config: Path) -> dict[str, Any]:
    """What `_config.yml` says."""
    found = yaml.safe_load(config.read_text())
    return dict(found or {})


def repository(config: Path) -> str:
    """Address of the repository without a slash at its end; "" if none is set."""
    said = settings(config).get("repository", {}).get("url", "")
    return str(os.environ.get("REPOSITORY") or said or "").rstrip("/")


def release_address(config: Path, root: Path) -> str:
    """Where the files of this version's release lie; "" without a repository."""
    address = repository(config)
    return f"{address}/releases/download/v{project_version(root)}" if address else ""

"""The lock file installs one version of each package: two versions at once write over each other's files."""

import importlib.metadata
import tomllib
from collections import Counter

import pytest
from packaging.markers import Marker, default_environment

from shared.profile import ROOT

PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "linux-arm": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
PACKAGES = tomllib.loads((ROOT / "poetry.lock").read_text(encoding="utf-8"))["package"]


def installed(packages: list[dict], environment: dict[str, str]) -> Counter:
    """How often each name would be installed from `packages` in `environment`."""
    names = Counter()
    for package in packages:
        markers = package.get("markers", "")
        markers = markers.values() if isinstance(markers, dict) else [markers]  # one marker for all groups, or one each
        names[package["name"]] += any(not marker or Marker(marker).evaluate(environment) for marker in markers)
    return names


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_no_package_is_locked_twice(platform, python):
    environment = default_environment() | PLATFORMS[platform] | {"python_version": python}
    names = installed(PACKAGES, environment | {"python_full_version": f"{python}.1"})
    assert sum(names.values()) > 100 and max(names.values()) == 1, names.most_common(3)


def test_two_versions_with_overlapping_markers_are_noticed():
    twins = [{"name": "cublas", "markers": 'sys_platform == "linux"'}, {"name": "cublas"}]
    assert installed(twins, default_environment() | PLATFORMS["linux"])["cublas"] == 2
    assert installed(twins, default_environment() | PLATFORMS["macos"])["cublas"] == 1


def test_no_package_is_installed_twice():
    names = Counter(distribution.name.lower() for distribution in importlib.metadata.distributions())
    assert max(names.values()) == 1, f"{names.most_common(3)}: delete .venv and install anew"

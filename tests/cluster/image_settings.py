"""What this machine needs to reach its package index, handed to a build without entering an image.

The index and its credentials come from pip's and uv's own settings and go in as secrets, files that exist only while a
step runs; certificates and resolver are mounted. Proxies need nothing here: buildah passes them by itself.
Knows: pip's and uv's settings. Must not know: how an image is built.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shell import attempt

PIP_TIMEOUT_SECONDS = 30.0
# Where Debian's Python, pip and uv look for certificates, so that they need no setting in a build.
BUNDLE_IN_IMAGE = "/etc/ssl/certs/ca-certificates.crt"
CACHE_IN_IMAGE = "/var/cache/uv"


@dataclass(frozen=True)
class Index:
    """Where packages come from; empty means the installer's own default."""

    url: str = ""
    extra_urls: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()

    def pip_conf(self) -> str:
        """pip's configuration file."""
        settings = {
            "index-url": self.url,
            "extra-index-url": " ".join(self.extra_urls),
            "trusted-host": " ".join(self.trusted_hosts),
        }
        return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items() if value)

    def uv_toml(self) -> str:
        """uv's configuration file; TOML takes strings and lists as JSON writes them."""
        lines = ["system-certs = true"]
        if self.url:
            lines.append(f"index-url = {json.dumps(self.url)}")
        if self.extra_urls:
            # pip takes the best version of all indexes; uv, left alone, the first index that has the package.
            lines += [f"extra-index-url = {json.dumps(self.extra_urls)}", 'index-strategy = "unsafe-best-match"']
        if self.trusted_hosts:
            lines.append(f"allow-insecure-host = {json.dumps(self.trusted_hosts)}")
        return "".join(f"{line}\n" for line in lines)


def index(environment: Mapping[str, str] = os.environ) -> Index:
    """The index that pip or uv would use on this machine; uv's variables win over pip's settings."""
    said = attempt([sys.executable, "-m", "pip", "config", "list"], timeout_seconds=PIP_TIMEOUT_SECONDS)
    return parse_index(said.stdout if said.returncode == 0 else "", environment)


def parse_index(pip_settings: str, environment: Mapping[str, str]) -> Index:
    """Read what `pip config list` prints, and uv's variables.

    >>> parse_index("global.index-url='https://a/simple'", {}).url
    'https://a/simple'
    """
    settings = dict(line.partition("=")[::2] for line in pip_settings.splitlines())
    of_pip = {
        key.removeprefix(f"{section}."): value.strip("'\"")
        for section in ("global", "install", ":env:")  # the later ones win
        for key, value in settings.items()
        if key.startswith(f"{section}.")
    }

    def first(pip_name: str, *uv_names: str) -> str:
        # pip's own variable is asked for too, because a Python without pip lists nothing.
        names = (*uv_names, f"PIP_{pip_name.replace('-', '_').upper()}")
        return next(filter(None, map(environment.get, names)), of_pip.get(pip_name, ""))

    url = first("index-url", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
    extra = first("extra-index-url", "UV_EXTRA_INDEX_URL")
    return Index(url, tuple(_words(extra)), tuple(_words(first("trusted-host"))))


def write_secrets(folder: Path) -> dict[str, Path]:
    """Write the installers' settings to files in `folder`, by the names under which Dockerfiles ask for them."""
    found = index()
    contents = {"pip.conf": found.pip_conf(), "uv.toml": found.uv_toml()}
    for name, text in contents.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in contents}


def _words(value: str) -> list[str]:
    # `pip config list` shows the line ends of a list as the two characters \n.
    return value.replace("\\n", " ").split()


def mounts(environment: Mapping[str, str] = os.environ) -> dict[Path, str]:
    """Files and folders of this machine to where a build sees them: certificates, resolver, uv's cache.

    The cache is that of uv on this machine, so that what either has downloaded neither does again.
    """
    cache = Path(environment.get("UV_CACHE_DIR") or _cache_home(environment) / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    wanted = {cache.resolve(): CACHE_IN_IMAGE, Path("/etc/resolv.conf"): "/etc/resolv.conf:ro"}
    bundle = certificates(environment)
    return wanted if bundle is None else {**wanted, bundle: f"{BUNDLE_IN_IMAGE}:ro"}


def certificates(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The bundle that this machine trusts: what a variable names, else the system's; None when there is none."""
    named = [environment.get(name, "") for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")]
    known = [*named, BUNDLE_IN_IMAGE, ssl.get_default_verify_paths().cafile or ""]
    return next((Path(name).resolve() for name in known if name and Path(name).is_file()), None)


def _cache_home(environment: Mapping[str, str]) -> Path:
    named = environment.get("XDG_CACHE_HOME", "")
    return Path(named) if named.startswith("/") else Path.home() / ".cache"

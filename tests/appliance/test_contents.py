"""What the root image holds, and what it must not: looked up in its files, without starting it."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lib.root import accounts, exists_inside, listed, paths, run_in, text_of

TREE = Path(__file__).parents[2]
VAR = "usr/share/factory/var"  # the pattern of /var
TEMPORARY = ["tmp", f"{VAR}/tmp"]  # noqa: S108

WITHOUT_LOGIN = {"/usr/sbin/nologin", "/bin/false", "/bin/sync"}
BUILD_TOOLS = (
    "cc gcc g++ c++ c89 c99 clang cpp as ld ld.bfd ld.lld make gmake cmake ninja meson autoconf automake llc "
    "bpftool pip pip3 pipx uv easy_install dpkg-buildpackage dh git apt apt-get"
).split()
PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----[\r\n]+[A-Za-z0-9+/:=]")
CLOUD_KEY = re.compile(rb"\b(AKIA|ASIA)[A-Z2-7]{16}\b")


def ssh_settings(root: Path) -> dict[str, str]:
    """What the SSH server goes by, in its own words, with a key that is made for this and goes with it."""
    key = "ssh-keygen -q -t ed25519 -N '' -f /run/key && mkdir -m 755 /run/sshd"
    done = run_in(root, f"{key} && sshd -T -h /run/key")
    assert done.returncode == 0, done.stderr
    return {name: value for name, _, value in (line.partition(" ") for line in done.stdout.splitlines())}


class TestMarketplacePolicy:
    """AWS Marketplace's policy for AMIs, as far as an image's files can show it."""

    def test_no_password_is_baked_in(self, root: Path) -> None:
        """No account has a password, and none an empty one: each field is one that no password matches."""
        assert [fields[0] for fields in accounts(root, "etc/shadow") if fields[1][:1] not in {"!", "*"}] == []
        assert [fields[0] for fields in accounts(root, "etc/passwd") if fields[1] != "x"] == []
        assert [
            fields[0] for fields in accounts(root, "etc/gshadow") if fields[1][:1] not in {"", "!", "*"}
        ] == []

    def test_root_is_locked(self, root: Path) -> None:
        (shadow,) = (fields for fields in accounts(root, "etc/shadow") if fields[0] == "root")
        assert shadow[1].startswith("!")

    def test_no_account_but_those_of_the_system(self, root: Path) -> None:
        """No back door: only root has user 0 and a shell. The administrator is made at the first boot."""
        users = accounts(root, "etc/passwd")
        assert [fields[0] for fields in users if fields[2] == "0"] == ["root"]
        assert [fields[0] for fields in users if fields[6] not in WITHOUT_LOGIN] == ["root"]
        assert [fields[0] for fields in users if 1000 <= int(fields[2]) < 65534] == []
        assert listed(root / f"{VAR}", lambda path: path.parent.name == "home") == []

    def test_nobody_is_let_in_by_a_key(self, root: Path) -> None:
        assert listed(root, lambda path: path.name.startswith("authorized_keys") or path.name == ".ssh") == []

    def test_no_host_key(self, root: Path) -> None:
        assert listed(root, lambda path: path.name.startswith("ssh_host_")) == []

    def test_no_private_key_and_no_credential_of_a_cloud(self, root: Path) -> None:
        def is_secret(path: Path) -> bool:
            # GnuTLS tests itself with keys that everybody knows.
            if path.is_symlink() or not path.is_file() or path.name.startswith("libgnutls.so."):
                return False
            return holds_secret(path.read_bytes())

        assert listed(root, is_secret) == []
        assert listed(root, lambda path: path.name in {".aws", ".azure", ".boto", ".netrc", ".pypirc"}) == []

    def test_no_history(self, root: Path) -> None:
        assert listed(root, lambda path: path.name.endswith("_history") or path.name == ".lesshst") == []

    def test_nothing_of_one_machine(self, root: Path) -> None:
        """What makes machines different is made at the first boot."""
        assert text_of(root, "etc/machine-id") == ""
        names = {"random-seed", "instance-id", "credential.secret"}
        assert listed(root, lambda path: path.name in names) == []
        assert listed(root / VAR / "log", lambda path: path.is_file()) == []
        assert not list((root / VAR / "lib/dbus").glob("machine-id"))

    def test_ssh_by_key_only_and_never_as_root(self, root: Path) -> None:
        refused = (
            "passwordauthentication kbdinteractiveauthentication permitemptypasswords permitrootlogin "
            "hostbasedauthentication permituserenvironment"
        ).split()
        found = ssh_settings(root)
        assert {name: found[name] for name in refused} == dict.fromkeys(refused, "no")
        assert found["pubkeyauthentication"] == "yes"

    def test_only_ssh_is_let_in(self, root: Path) -> None:
        rules = text_of(root, "etc/nftables.conf")
        assert re.search(r"hook input .*policy drop;", rules)
        assert re.findall(r"dport (\S+)", rules) == ["68", "546", "22"]

    def test_the_system_is_supported(self, root: Path) -> None:
        release = text_of(root, "etc/os-release")
        assert re.search(r"^ID=debian$", release, re.MULTILINE)
        assert re.search(r"^VERSION_CODENAME=trixie$", release, re.MULTILINE)

    def test_instance_metadata_by_version_two_only(self, root: Path) -> None:
        """Nothing of ours asks the service without a token; cloud-init asks for one first."""
        address = b"169.254.169.254"
        ours = (root / "etc", root / "usr/lib/appliance", root / "usr/lib/collector/collector")
        found = [path for top in ours for path in paths(top) if path.is_file() and not path.is_symlink()]
        assert [
            path.name for path in found if address in path.read_bytes() and b"curl" in path.read_bytes()
        ] == []


def holds_secret(data: bytes) -> bool:
    return bool(PRIVATE_KEY.search(data) or CLOUD_KEY.search(data))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz", True),
        (b"-----BEGIN PRIVATE KEY-----\nMIIE", True),
        (b"aws_access_key_id = AKIA" + b"A2" * 8, True),
        (b'"-----BEGIN RSA PRIVATE KEY-----"', False),
        (b"-----BEGIN PUBLIC KEY-----\nMIIB", False),
    ],
)
def test_a_secret_is_told_from_the_word(text: bytes, secret: bool) -> None:
    assert holds_secret(text) == secret


class TestRights:
    def test_only_sudo_runs_as_another(self, root: Path) -> None:
        def runs_as_another(path: Path) -> bool:
            return path.is_file() and not path.is_symlink() and bool(path.stat().st_mode & 0o6000)

        assert listed(root, runs_as_another) == ["usr/bin/sudo"]

    def test_no_file_has_capabilities(self, root: Path) -> None:
        assert listed(root, lambda path: bool(os.listxattr(path, follow_symlinks=False))) == []

    def test_ping_works_without(self, root: Path) -> None:
        assert "net.ipv4.ping_group_range" in text_of(root, "usr/lib/sysctl.d/50-default.conf")

    def test_nothing_is_writable_by_everybody(self, root: Path) -> None:
        def is_writable(path: Path) -> bool:
            mode = path.lstat().st_mode
            return bool(mode & 0o002) and not stat.S_ISLNK(mode)

        writable = listed(root, is_writable)
        assert writable == TEMPORARY
        assert all((root / name).stat().st_mode & stat.S_ISVTX for name in writable)

    def test_secrets_of_the_system_are_root_s(self, root: Path) -> None:
        modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in (
            "root", "etc/shadow", "etc/gshadow", "etc/sudoers", "etc/sudoers.d", "etc/passwd", "boot/initrd",
        )}  # fmt: skip
        assert modes == {
            "root": 0o700, "etc/shadow": 0o640, "etc/gshadow": 0o640, "etc/sudoers": 0o440,
            "etc/sudoers.d": 0o755, "etc/passwd": 0o644, "boot/initrd": 0o600,
        }  # fmt: skip

    def test_every_owner_exists(self, root: Path) -> None:
        users = {int(fields[2]) for fields in accounts(root, "etc/passwd")}
        groups = {int(fields[2]) for fields in accounts(root, "etc/group")}

        def is_orphan(path: Path) -> bool:
            found = path.lstat()
            return found.st_uid not in users or found.st_gid not in groups

        assert listed(root, is_orphan) == []


class TestNothingOfTheBuild:
    def test_no_build_tool(self, root: Path) -> None:
        folders = [root / folder for folder in ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")]
        there = {path.name for folder in folders for path in folder.iterdir()}
        assert (
            sorted(name for name in there if name in BUILD_TOOLS or re.match(r"(x86_64-|clang|gcc)", name))
            == []
        )
        assert (
            listed(root, lambda path: path.name in {"pip", "ensurepip", "setuptools"} and path.is_dir()) == []
        )

    def test_no_header_and_no_static_library(self, root: Path) -> None:
        """But the collector's own sources, which lie beside its program."""
        own = root / "usr/lib/collector/collector/datapath/bpf"
        suffixes = {".a", ".la", ".h", ".hpp", ".pc", ".c"}
        assert listed(root, lambda path: path.suffix in suffixes and path.parent != own) == []

    def test_no_documentation_but_who_owns_it(self, root: Path) -> None:
        docs = root / "usr/share/doc"
        assert listed(docs, lambda path: path.is_file() and path.name != "copyright") == []
        assert len(listed(docs, lambda path: path.name == "copyright")) > 100
        assert not any((root / "usr/share" / name).exists() for name in ("man", "info", "locale"))

    def test_no_package_and_no_list_of_packages(self, root: Path) -> None:
        assert listed(root, lambda path: path.suffix == ".deb" or path.name == "not-as-locked") == []
        assert not (root / "etc/apt").exists()

    @pytest.mark.parametrize("word", [str(TREE), "/build/root"])
    def test_no_path_of_the_machine_that_built_it(self, root: Path, word: str) -> None:
        command = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--word-regexp", word]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")

    @pytest.mark.parametrize("name", ["etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mailname"])
    def test_no_name_of_the_machine_that_built_it(self, root: Path, name: str) -> None:
        text = text_of(root, name) if (root / name).is_file() else ""
        assert socket.gethostname() not in text.split()

    def test_no_link_leads_nowhere(self, root: Path) -> None:
        """But those into what exists only while it runs, and those of /var, which are meant for /var."""
        running = re.compile(r"/?(\.\./)*(run|proc|dev|sys|var)/")

        def leads_nowhere(path: Path) -> bool:
            if not path.is_symlink() or running.match(str(path.readlink())):
                return False
            return (root / VAR) not in path.parents and not exists_inside(root, path)

        assert listed(root, leads_nowhere) == []


class TestUnits:
    def test_what_the_presets_name_exists_and_is_enabled(self, root: Path) -> None:
        text = text_of(root, "usr/lib/systemd/system-preset/10-appliance.preset")
        named = re.findall(r"^enable (\S+)$", text, re.MULTILINE)
        command = [
            "systemctl",
            f"--root={root}",
            "is-enabled",
            *(unit.replace("@.", "@tty1.") for unit in named),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = dict(zip(named, done.stdout.split(), strict=True))
        assert {unit: state for unit, state in found.items() if state not in {"enabled", "static"}} == {}

    def test_every_unit_is_right(self, root: Path) -> None:
        units = sorted(path.name for path in (root / "usr/lib/systemd/system").glob("appliance-*.*"))
        done = run_in(root, f"systemd-analyze verify --man=no {' '.join(units)} collector.service")
        assert (units != [], done.stdout + done.stderr, done.returncode) == (True, "", 0)


LEFT_OUT = tuple(
    f"usr/share/{folder}/" for folder in ("bash-completion", "doc", "fish", "lintian", "man", "zsh")
)


class TestCollector:
    def test_it_is_this_checkout_s_package(self, root: Path) -> None:
        """Every file of the package is as the package built it."""
        sums = text_of(root, "usr/lib/sysimage/dpkg/info/collector.md5sums").splitlines()
        (package,) = (TREE / "dist").glob("collector_*~deb13_*.deb")
        control = subprocess.run(["dpkg-deb", "--ctrl-tarfile", package], capture_output=True, check=True)
        tar = ["tar", "--extract", "--to-stdout", "./md5sums"]
        built = subprocess.run(tar, input=control.stdout, capture_output=True, check=True).stdout.decode()
        assert sums == built.splitlines()
        wrong = []
        for digest, _, name in (line.partition("  ") for line in sums):
            path = root / name
            if not name.startswith(LEFT_OUT):
                found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                wrong += [name] * (found != digest)
        assert wrong == []

    @pytest.mark.parametrize(
        "path", sorted((TREE / "collector").rglob("*.py")), ids=lambda path: str(path.relative_to(TREE))
    )
    def test_its_sources_are_this_checkout_s(self, root: Path, path: Path) -> None:
        inside = root / "usr/lib/collector" / path.relative_to(TREE)
        assert inside.read_bytes() == path.read_bytes()

    def test_its_program_is_this_checkout_s(self, root: Path) -> None:
        name = "collector/datapath/bpf/collector.bpf.o"
        assert (root / "usr/lib/collector" / name).read_bytes() == (TREE / name).read_bytes()

    def test_it_says_its_version(self, root: Path) -> None:
        ours = [sys.executable, "-m", "collector", "--version"]
        expected = subprocess.run(ours, cwd=TREE, capture_output=True, text=True, check=True).stdout
        assert run_in(root, "collector --version").stdout == expected

    def test_its_libraries_are_the_lock_s(self, root: Path) -> None:
        text = (TREE / "collector/requirements.lock").read_text()
        versions = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
        locked = {normal(name): version for name, version in versions}
        folders = (root / "usr/lib/collector").glob("*.dist-info")
        found = [folder.name.removesuffix(".dist-info").split("-") for folder in folders]
        there = {normal(name): version for name, version in found if name != "collector"}
        assert there.items() <= locked.items()
        assert {"scapy", "pydantic", "pyroute2", "bcrypt"} <= there.keys()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

"""Makes an AMI of the raw disk: a snapshot, written block by block and registered. No instance is started."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from collector.errors import CollectorError, HostError, InputError

if TYPE_CHECKING:
    from types_boto3_ebs import EBSClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ec2.type_defs import RegisterImageRequestTypeDef

BLOCK = 512 * 1024  # the only size that the EBS direct API takes
EMPTY = bytes(BLOCK)
GIB = 1024**3
POLICY = "deploy/aws/ami-policy.json"
# Throttled requests and broken connections are tried again, more and more slowly.
RETRIES: dict[str, object] = {"mode": "standard", "max_attempts": 10}
ENCRYPTED = """This account encrypts every new snapshot: the AMI is for this account only.
Neither the Marketplace nor another account can take it."""
PATIENCE = 3600  # seconds for AWS to complete a snapshot


@dataclass(frozen=True)
class Disk:
    path: Path
    size: int
    used: Sequence[int]  # the blocks that are not all zeros; AWS gives zeros for the others

    @property
    def gibibytes(self) -> int:
        return -(-self.size // GIB)

    def block(self, index: int) -> bytes:
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), BLOCK, index * BLOCK).ljust(BLOCK, b"\0")


@dataclass(frozen=True)
class Account:
    ebs: EBSClient
    ec2: EC2Client


def written(file: int) -> Iterator[int]:
    """The blocks that are not holes."""
    start = 0
    while True:
        try:
            index = os.lseek(file, start, os.SEEK_DATA) // BLOCK
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        yield index
        start = (index + 1) * BLOCK


def read_disk(path: Path) -> Disk:
    with path.open("rb") as file:
        if file.read(512)[510:] != b"\x55\xaa":
            raise InputError(f"{path} is not a raw disk", "Give the .raw file in dist/.")
        disk = Disk(path, path.stat().st_size, [])
        return replace(disk, used=[each for each in written(file.fileno()) if disk.block(each) != EMPTY])


def connect(region: str | None, jobs: int) -> Account:
    config = Config(retries=RETRIES, max_pool_connections=jobs)
    session = boto3.Session(region_name=region)
    return Account(session.client("ebs", config=config), session.client("ec2", config=config))


def require_free(account: Account, name: str) -> None:
    found = account.ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])
    for image in found["Images"]:
        raise InputError(
            f"there is an AMI of this name: {name} is {image['ImageId']}", "Deregister it, or give --name."
        )


def send(account: Account, snapshot: str, disk: Disk, index: int) -> bytes:
    """Writes one block, and gives its SHA-256, which AWS has compared with what arrived."""
    data = disk.block(index)
    digest = hashlib.sha256(data).digest()
    account.ebs.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=index,
        BlockData=data,
        DataLength=BLOCK,
        Checksum=base64.b64encode(digest).decode(),
        ChecksumAlgorithm="SHA256",
    )
    return digest


def write_blocks(account: Account, snapshot: str, disk: Disk, jobs: int) -> bytes:
    """Gives the SHA-256 of all blocks' SHA-256, in the blocks' order, whatever order they were written in."""
    total = hashlib.sha256()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            digests = pool.map(partial(send, account, snapshot, disk), disk.used)
            with click.progressbar(digests, len(disk.used), "Uploading", file=sys.stderr) as shown:
                for digest in shown:
                    total.update(digest)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return total.digest()


def complete(account: Account, snapshot: str, disk: Disk, digest: bytes) -> None:
    account.ebs.complete_snapshot(
        SnapshotId=snapshot,
        ChangedBlocksCount=len(disk.used),
        Checksum=base64.b64encode(digest).decode(),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    click.echo("Waiting for AWS to complete the snapshot", err=True)
    waiter = account.ec2.get_waiter("snapshot_completed")
    waiter.wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 5, "MaxAttempts": PATIENCE // 5})


def take_back(account: Account, snapshot: str) -> None:
    click.echo(f"Deleting what was uploaded: {snapshot}", err=True)
    try:
        account.ec2.delete_snapshot(SnapshotId=snapshot)
    except (BotoCoreError, ClientError) as error:
        click.echo(f"It could not be deleted: {error}. Delete {snapshot} by hand, it costs money.", err=True)


@contextlib.contextmanager
def new_snapshot(account: Account, disk: Disk, name: str) -> Iterator[str]:
    """A snapshot that stays if the block ends well, and is deleted if not."""
    started = account.ebs.start_snapshot(
        VolumeSize=disk.gibibytes, Description=name, Tags=[{"Key": "Name", "Value": name}]
    )
    snapshot = started["SnapshotId"]
    try:
        if started.get("KmsKeyArn"):
            click.echo(ENCRYPTED, err=True)
        yield snapshot
    except BaseException:
        take_back(account, snapshot)
        raise


def registration(name: str, snapshot: str) -> RegisterImageRequestTypeDef:
    return {
        "Name": name,
        "Description": "VXLAN collector",
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "BootMode": "uefi-preferred",
        "EnaSupport": True,
        "ImdsSupport": "v2.0",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3", "DeleteOnTermination": True},
            }
        ],
        "TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "Name", "Value": name}]}],
    }


def make(account: Account, disk: Disk, name: str, jobs: int) -> str:
    require_free(account, name)
    with new_snapshot(account, disk, name) as snapshot:
        complete(account, snapshot, disk, write_blocks(account, snapshot, disk, jobs))
        return account.ec2.register_image(**registration(name, snapshot))["ImageId"]


def explain(error: BotoCoreError | ClientError) -> CollectorError:
    if isinstance(error, NoCredentialsError):
        return InputError("there are no AWS credentials", "Set AWS_PROFILE, or run: aws configure")
    if isinstance(error, NoRegionError):
        return InputError("no region is given", "Give --region, such as --region eu-central-1.")
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        what = f"AWS refused {error.operation_name}: {details.get('Message') or details.get('Code')}"
        return HostError(what, f"The permissions that are needed are in {POLICY}.")
    return HostError(f"AWS could not be asked: {error}", "Is the internet reached from here? Then try again.")


def describe(disk: Disk, name: str) -> None:
    megabytes = len(disk.used) * BLOCK // 1024**2
    click.echo(f"{disk.path}: {len(disk.used)} blocks to upload, {megabytes} MiB", err=True)
    click.echo(
        f"AMI {name}: x86_64, disk of {disk.gibibytes} GiB, uefi-preferred, ENA, IMDSv2 only", err=True
    )


def default_name(path: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9()\[\] ./'@_-]", "-", path.stem)
    return name if len(name) >= 3 else f"collector-{name}"


def run(path: Path, name: str, region: str | None, jobs: int, *, dry: bool) -> None:
    disk = read_disk(path)
    describe(disk, name)
    if dry:
        click.echo("Nothing was uploaded: --dry-run.", err=True)
        return
    try:
        click.echo(make(connect(region, jobs), disk, name, jobs))
    except (BotoCoreError, ClientError) as error:
        raise explain(error) from error


def end(*_signal: object) -> None:
    sys.exit(143)


@click.command()
@click.argument("disk", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="The AMI's name.  [default: the file's]")
@click.option("--region", help="Where to make it.  [default: your AWS configuration's]")
@click.option("--jobs", default=16, show_default=True, type=click.IntRange(1, 64), help="Uploads at a time.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and ask AWS nothing.")
def main(disk: Path, name: str | None, region: str | None, jobs: int, dry_run: bool) -> None:
    """Make an AMI of DISK, a .raw file, and print its ID.

    Credentials are taken from where the AWS command line has them. If anything goes wrong, or you press
    Ctrl-C, what was uploaded is deleted.

    Example: ami.py dist/collector-0.1.0.raw --region eu-central-1
    """
    signal.signal(signal.SIGTERM, end)
    try:
        run(disk, name or default_name(disk), region, jobs, dry=dry_run)
    except CollectorError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""The AMI is the raw disk, and is registered as it should be; a failure leaves nothing in the account."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.endpoint
import pytest
from botocore.awsrequest import AWSResponse
from click.testing import CliRunner, Result
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse

from deploy.aws import ami

REGION = "eu-central-1"
BLOCKS = 13


class Recorder:
    """What was asked of AWS, and what it is to answer instead of moto."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.refusals: dict[str, list[tuple[str, int]]] = {}

    def note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests.append((model.name, dict(params)))

    def refuse(self, operation: str, code: str, status: int, times: int = 1) -> None:
        self.refusals[operation] = [(code, status)] * times

    def answer(self, request: Any, **event: Any) -> AWSResponse | None:
        operation = event["event_name"].rsplit(".", 1)[1]
        if not self.refusals.get(operation):
            return None
        code, status = self.refusals[operation].pop()
        message = f"{code} was asked for"
        if ".ec2." in event["event_name"]:
            body = f"<R><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></R>"
        else:
            body = json.dumps({"Message": message})
        return AWSResponse(request.url, status, {"x-amzn-ErrorType": code}, MockRawResponse(body))

    def of(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.requests if name == operation]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """An account of moto's own. Between two tries nobody waits."""
    recorder = Recorder()
    make = boto3.Session.client

    def client(session: boto3.Session, service: str, **options: Any) -> Any:
        made = make(session, service, **options)
        made.meta.events.register("before-parameter-build", recorder.note)
        made.meta.events.register_first("before-send", recorder.answer)
        return made

    monkeypatch.setattr(boto3.Session, "client", client)
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda _seconds: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield recorder


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A boot sector, a block in a hole, a block of zeros, and half a block at the end."""
    path = tmp_path / "collector-9.9.9.raw"
    with path.open("wb") as file:
        file.write(bytes(510) + b"\x55\xaa" + b"GPT")
        file.seek(7 * ami.BLOCK)
        file.write(hashlib.sha512(b"7").digest() * (ami.BLOCK // 64) + bytes(ami.BLOCK))
        file.seek(12 * ami.BLOCK)
        file.write(b"the end".ljust(ami.BLOCK // 2, b"\0"))
    return path


def make(*arguments: str | Path) -> Result:
    return CliRunner().invoke(ami.main, [*map(str, arguments), "--region", REGION], catch_exceptions=False)


def read_back(snapshot: str, size: int) -> bytes:
    """The disk, as whoever starts from the snapshot would see it."""
    ebs: Any = boto3.client("ebs", region_name=REGION)
    whole = bytearray(size)
    for block in ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]:
        got = ebs.get_snapshot_block(
            SnapshotId=snapshot, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"]
        )
        start = block["BlockIndex"] * ami.BLOCK
        whole[start : start + ami.BLOCK] = got["BlockData"].read()
    return bytes(whole)


def snapshots() -> list[str]:
    ec2: Any = boto3.client("ec2", region_name=REGION)
    own = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return [each["SnapshotId"] for each in own if each["Description"] == "collector-9.9.9"]


def test_the_snapshot_is_the_disk(aws: Recorder, disk: Path) -> None:
    result = make(disk)
    assert result.exit_code == 0, result.output
    (snapshot,) = snapshots()
    size = BLOCKS * ami.BLOCK
    assert read_back(snapshot, size) == disk.read_bytes().ljust(size, b"\0")
    assert aws.of("StartSnapshot")[0]["VolumeSize"] == 1


def test_a_volume_is_whole_gibibytes(tmp_path: Path) -> None:
    assert [ami.Disk(tmp_path, size, []).gibibytes for size in (2**30, 2**30 + 1)] == [1, 2]


def test_zeros_are_not_sent_and_every_block_has_its_checksum(aws: Recorder, disk: Path) -> None:
    make(disk)
    sent = {each["BlockIndex"]: each for each in aws.of("PutSnapshotBlock")}
    assert sorted(sent) == [0, 7, 12]
    digests = [hashlib.sha256(sent[index]["BlockData"]).digest() for index in sorted(sent)]
    assert [base64.b64decode(sent[index]["Checksum"]) for index in sorted(sent)] == digests
    assert {(each["DataLength"], each["ChecksumAlgorithm"]) for each in sent.values()} == {(524288, "SHA256")}
    (snapshot,) = snapshots()
    assert aws.of("CompleteSnapshot") == [
        {
            "SnapshotId": snapshot,
            "ChangedBlocksCount": 3,
            "Checksum": base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode(),
            "ChecksumAlgorithm": "SHA256",
            "ChecksumAggregationMethod": "LINEAR",
        }
    ]


def test_what_is_registered(aws: Recorder, disk: Path) -> None:
    result = make(disk, "--name", "collector of today")
    ec2: Any = boto3.client("ec2", region_name=REGION)
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert result.stdout == f"{image['ImageId']}\n"
    (asked,) = aws.of("RegisterImage")
    assert asked == {
        "Name": "collector of today",
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
                "Ebs": {
                    "SnapshotId": aws.of("CompleteSnapshot")[0]["SnapshotId"],
                    "VolumeType": "gp3",
                    "DeleteOnTermination": True,
                },
            }
        ],
        "TagSpecifications": [
            {"ResourceType": "image", "Tags": [{"Key": "Name", "Value": "collector of today"}]}
        ],
    }


def test_what_is_throttled_is_tried_again(aws: Recorder, disk: Path) -> None:
    aws.refuse("PutSnapshotBlock", "RequestThrottledException", 400, times=5)
    result = make(disk, "--jobs", "1")
    assert result.exit_code == 0, result.output
    (snapshot,) = snapshots()
    assert read_back(snapshot, ami.BLOCK).startswith(bytes(510) + b"\x55\xaaGPT")


@pytest.mark.parametrize("operation", ["PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"])
def test_a_failure_leaves_nothing(aws: Recorder, disk: Path, operation: str) -> None:
    aws.refuse(operation, "AccessDeniedException", 403)
    result = make(disk)
    assert result.exit_code == 1
    snapshot = aws.of("PutSnapshotBlock")[0]["SnapshotId"]
    assert f"Deleting what was uploaded: {snapshot}\n" in result.stderr
    assert result.stderr.endswith(
        f"error: AWS refused {operation}: AccessDeniedException was asked for\n"
        "  The permissions that are needed are in deploy/aws/ami-policy.json.\n"
    )
    assert snapshots() == []
    assert result.stdout == ""


def test_ctrl_c_leaves_nothing(aws: Recorder, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ami, "complete", interrupt)
    result = make(disk)
    assert (result.exit_code, snapshots()) == (1, [])
    assert len(aws.of("DeleteSnapshot")) == 1


def test_what_cannot_be_deleted_is_named(aws: Recorder, disk: Path) -> None:
    aws.refuse("RegisterImage", "UnauthorizedOperation", 403)
    aws.refuse("DeleteSnapshot", "UnauthorizedOperation", 403)
    result = make(disk)
    snapshot = aws.of("DeleteSnapshot")[0]["SnapshotId"]
    assert f"Delete {snapshot} by hand, it costs money." in result.stderr
    assert "error: AWS refused RegisterImage: UnauthorizedOperation was asked for" in result.stderr


def test_a_name_that_is_taken_is_refused_before_anything_is_sent(aws: Recorder, disk: Path) -> None:
    first = make(disk).stdout.strip()
    result = make(disk)
    assert result.exit_code == 2
    assert f"there is an AMI of this name: collector-9.9.9 is {first}" in result.stderr
    assert len(aws.of("StartSnapshot")) == 1


def test_a_file_that_is_no_disk_is_refused(aws: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "collector.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(1000))
    result = make(path)
    assert (result.exit_code, aws.requests) == (2, [])
    assert result.stderr == f"error: {path} is not a raw disk\n  Give the .raw file in dist/.\n"


@pytest.mark.usefixtures("aws")
def test_without_credentials_it_says_so(disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    result = make(disk)
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "error: there are no AWS credentials\n  Set AWS_PROFILE, or run: aws configure\n"
    )


def test_a_dry_run_asks_nothing(aws: Recorder, disk: Path) -> None:
    result = make(disk, "--dry-run")
    assert (result.exit_code, result.stdout, aws.requests) == (0, "", [])
    assert result.stderr == (
        f"{disk}: 3 blocks to upload, 1 MiB\n"
        "AMI collector-9.9.9: x86_64, disk of 1 GiB, uefi-preferred, ENA, IMDSv2 only\n"
        "Nothing was uploaded: --dry-run.\n"
    )


def test_the_policy_allows_what_is_asked_and_no_more(aws: Recorder, disk: Path) -> None:
    make(disk)
    aws.refuse("RegisterImage", "UnauthorizedOperation", 403)
    make(disk, "--name", "another")
    services = {"StartSnapshot": "ebs", "PutSnapshotBlock": "ebs", "CompleteSnapshot": "ebs"}
    asked = {f"{services.get(name, 'ec2')}:{name}" for name, _params in aws.requests}
    policy = json.loads((Path(ami.__file__).parent / "ami-policy.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    # Tags that come with a request are allowed apart, and are no request.
    assert allowed == asked | {"ec2:CreateTags"}
    assert [each["Sid"] for each in policy["Statement"] if each["Resource"] == "*"] == ["Look"]

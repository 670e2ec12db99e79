"""The CloudFormation template: right in cfn-lint's judgement, closed to strangers; what moto makes of it."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from collector.control.config import parse
from tests.lib import given
from tests.lib.cloudformation import Template, load

TEMPLATE = given.ROOT / "deploy/aws/cloudformation/collector.yaml"
# moto makes none of these, no instance from a launch template, and no balancer but an application's.
UNKNOWN_TO_MOTO = (
    "AWS::AutoScaling::ScalingPolicy",
    "AWS::CloudWatch::",
    "AWS::EC2::Instance",
    "AWS::EC2::TrafficMirror",
    "AWS::ElasticLoadBalancingV2::Listener",
)

every_deployment = pytest.mark.parametrize("deployment", ["one", "group"])


def template(**parameters: Any) -> Template:
    return Template(TEMPLATE, {**given.PARAMETERS, **parameters})


def test_cfn_lint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([program, "--", TEMPLATE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_every_parameter_has_a_label_a_group_and_a_description() -> None:
    source = load(TEMPLATE)
    interface = source["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(source["Parameters"]) == sorted(interface["ParameterLabels"])
    assert [name for name, each in source["Parameters"].items() if not each.get("Description")] == []


def test_no_image_region_or_account_is_written_down() -> None:
    assert re.findall(r"\bami-\w+|\b[a-z]{2}-[a-z]+-\d\b|\b\d{12}\b", TEMPLATE.read_text()) == []


def test_networks_have_no_default_and_nothing_is_open_to_all() -> None:
    parameters = load(TEMPLATE)["Parameters"]
    assert [name for name, each in parameters.items() if name.endswith("Range") and "Default" in each] == []
    for deployment in ("one", "group"):
        rules = json.dumps(template(Deployment=deployment).of_type("AWS::EC2::SecurityGroup"))
        assert not re.search(r"0\.0\.0\.0/0|::/0", rules)


@every_deployment
def test_user_data_is_a_good_configuration(deployment: str) -> None:
    config = parse(given.configuration(template(Deployment=deployment).user_data()), "user data")
    (source,), (t_meter,) = config.sources, config.t_meters
    assert source.type == "vxlan"
    assert source.from_ == (ipaddress.ip_network("10.0.0.0/16"),)
    assert (str(t_meter.address), t_meter.port) == ("203.0.113.10", 4789)


@every_deployment
def test_nothing_gets_out_but_to_the_t_meter(deployment: str) -> None:
    groups = template(Deployment=deployment).of_type("AWS::EC2::SecurityGroup")
    (group,) = [each for each in groups if each["GroupDescription"] == "VXLAN collector"]
    out = {(each["IpProtocol"], each["FromPort"], each["CidrIp"]) for each in group["SecurityGroupEgress"]}
    assert out == {("udp", 4789, "203.0.113.10/32"), ("icmp", 8, "203.0.113.10/32")}


@every_deployment
def test_the_role_allows_nothing(deployment: str) -> None:
    (role,) = template(Deployment=deployment).of_type("AWS::IAM::Role")
    assert set(role) == {"AssumeRolePolicyDocument"}
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}


@every_deployment
def test_metadata_only_by_imdsv2_and_not_beyond_the_instance(deployment: str) -> None:
    (made,) = template(Deployment=deployment).of_type("AWS::EC2::LaunchTemplate")
    options = made["LaunchTemplateData"]["MetadataOptions"]
    assert options == {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@pytest.mark.parametrize("traffic", ["all", "telephony"])
def test_both_directions_are_mirrored_and_aws_takes_so_many_rules(traffic: str) -> None:
    rules = template(MirrorTraffic=traffic).of_type("AWS::EC2::TrafficMirrorFilterRule")
    numbers = [(each["TrafficDirection"], each["RuleNumber"]) for each in rules]
    assert {direction for direction, _number in numbers} == {"ingress", "egress"}
    assert len(set(numbers)) == len(numbers) <= 10


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """moto's own account, with a VPC of two subnets, by parameters of ours."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        ec2 = client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-central-1{zone}")
            for n, zone in enumerate("ab")
        ]
        ec2.create_key_pair(KeyName="administrator")
        image = ec2.register_image(Name="collector", RootDeviceName="/dev/xvda")["ImageId"]
        ids = [each["Subnet"]["SubnetId"] for each in subnets]
        yield {"VpcId": vpc, "SubnetIds": ids, "KeyName": "administrator", "ImageId": image}


def client(service: str) -> Any:
    return boto3.client(
        service,
        region_name="eu-central-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106
    )


def stack(account: dict[str, Any], deployment: str) -> None:
    resources = template(Deployment=deployment, **account).resources
    known = {name: each for name, each in resources.items() if not each["Type"].startswith(UNKNOWN_TO_MOTO)}
    for each in known.values():
        each.pop("DependsOn", None)
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName="collector", TemplateBody=json.dumps({"Resources": known}), Capabilities=["CAPABILITY_IAM"]
    )
    (made,) = cloudformation.describe_stacks(StackName="collector")["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"


def test_moto_makes_the_rules_of_one(account: dict[str, Any]) -> None:
    stack(account, "one")
    ec2 = client("ec2")
    (group,) = [
        each
        for each in ec2.describe_security_groups()["SecurityGroups"]
        if each["Description"] == "VXLAN collector"
    ]
    opened = {
        (rule["IpProtocol"], rule["FromPort"], each["CidrIp"])
        for rule in group["IpPermissions"]
        for each in rule["IpRanges"]
    }
    assert opened == {
        ("tcp", 22, "192.0.2.0/25"),
        ("tcp", 9747, "192.0.2.128/25"),
        ("udp", 4789, "10.0.0.0/16"),
    }


def test_moto_makes_a_group(account: dict[str, Any]) -> None:
    stack(account, "group")
    balancing = client("elbv2")
    (balancer,) = balancing.describe_load_balancers()["LoadBalancers"]
    assert balancer["Scheme"] == "internal"
    assert len(balancer["AvailabilityZones"]) == 2
    (targets,) = balancing.describe_target_groups()["TargetGroups"]
    health = [targets[f"HealthCheck{each}"] for each in ("Protocol", "Port", "Path")]
    assert health == ["HTTP", "9747", "/healthz"]
    (group,) = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["MaxSize"], len(group["Instances"])) == (2, 4, 2)
    assert group["TargetGroupARNs"] == [targets["TargetGroupArn"]]

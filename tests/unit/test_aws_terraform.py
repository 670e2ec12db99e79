"""The Terraform module is valid, and makes what the CloudFormation template makes."""

from __future__ import annotations

import base64
import re
from collections import Counter
from typing import Any

import pytest

from tests.lib import given
from tests.lib.cloudformation import Template, load
from tests.lib.terraform import MODULE, Resource, Terraform

TEMPLATE = given.ROOT / "deploy/aws/cloudformation/collector.yaml"

# Rules of a security group are resources of their own in Terraform only; they are compared by themselves.
SAME = {
    "AWS::AutoScaling::AutoScalingGroup": "aws_autoscaling_group",
    "AWS::AutoScaling::ScalingPolicy": "aws_autoscaling_policy",
    "AWS::CloudWatch::Alarm": "aws_cloudwatch_metric_alarm",
    "AWS::EC2::EIP": "aws_eip",
    "AWS::EC2::EIPAssociation": "aws_eip_association",
    "AWS::EC2::Instance": "aws_instance",
    "AWS::EC2::LaunchTemplate": "aws_launch_template",
    "AWS::EC2::NetworkInterface": "aws_network_interface",
    "AWS::EC2::SecurityGroup": "aws_security_group",
    "AWS::EC2::TrafficMirrorFilter": "aws_ec2_traffic_mirror_filter",
    "AWS::EC2::TrafficMirrorFilterRule": "aws_ec2_traffic_mirror_filter_rule",
    "AWS::EC2::TrafficMirrorSession": "aws_ec2_traffic_mirror_session",
    "AWS::EC2::TrafficMirrorTarget": "aws_ec2_traffic_mirror_target",
    "AWS::ElasticLoadBalancingV2::Listener": "aws_lb_listener",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "aws_lb",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "aws_lb_target_group",
    "AWS::IAM::InstanceProfile": "aws_iam_instance_profile",
    "AWS::IAM::Role": "aws_iam_role",
}
# One machine with everything, and a group with the rules that are many.
DEPLOYMENTS = {
    "one": {"Deployment": "one", "PublicAddress": "yes"},
    "group": {"Deployment": "group", "MirrorTraffic": "telephony"},
}

Fact = tuple[object, ...]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_both_ask_for_the_same() -> None:
    text = "\n".join(path.read_text() for path in MODULE.glob("*.tf"))
    variables = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    # A stack has a name of its own.
    assert variables - {"name"} == {snake(name) for name in load(TEMPLATE)["Parameters"]}


def test_both_answer_the_same() -> None:
    text = (MODULE / "outputs.tf").read_text()
    outputs = set(re.findall(r'^output "(\w+)"', text, re.MULTILINE))
    assert outputs == {snake(name) for name in load(TEMPLATE)["Outputs"]}


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return Terraform(tmp_path_factory.mktemp("terraform"))


def test_terraform_finds_nothing(terraform: Terraform) -> None:
    terraform.run("fmt", "-check", "-diff")
    assert "The configuration is valid" in terraform.run("validate", "-no-color")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_both_make_the_same(terraform: Terraform, deployment: str) -> None:
    parameters = {**given.PARAMETERS, **DEPLOYMENTS[deployment]}
    template = Template(TEMPLATE, parameters)
    plan = terraform.plan({snake(name): value for name, value in parameters.items()})
    assert counted(template) == Counter(kind for kind, _after in plan if not kind.endswith("gress_rule"))
    assert sorted(rules(template)) == sorted(planned_rules(plan))
    assert sorted(filters(template)) == sorted(planned_filters(plan))
    assert sorted(alarms(template)) == sorted(planned_alarms(plan))
    (launch,) = [after for kind, after in plan if kind == "aws_launch_template"]
    assert base64.b64decode(launch["user_data"]).decode() == template.user_data()
    assert launch["metadata_options"][0] == launch["metadata_options"][0] | {
        "http_endpoint": "enabled",
        "http_tokens": "required",
        "http_put_response_hop_limit": 1,
    }


def counted(template: Template) -> Counter[str]:
    kinds = (each["Type"] for each in template.resources.values())
    return Counter(SAME[kind] for kind in kinds if kind != "AWS::EC2::SecurityGroupIngress")


def rules(template: Template) -> list[Fact]:
    groups = template.of_type("AWS::EC2::SecurityGroup")
    inward = [rule for each in groups for rule in each["SecurityGroupIngress"]]
    outward = [rule for each in groups for rule in each["SecurityGroupEgress"]]
    inward += template.of_type("AWS::EC2::SecurityGroupIngress")
    return [
        (
            way,
            each["Description"],
            each["IpProtocol"],
            each["FromPort"],
            each["ToPort"],
            each.get("CidrIp", ""),
        )
        for way, of_way in (("ingress", inward), ("egress", outward))
        for each in of_way
    ]


def planned_rules(plan: list[Resource]) -> list[Fact]:
    names = ("description", "ip_protocol", "from_port", "to_port", "cidr_ipv4")
    return [
        (kind.split("_")[-2], *(each.get(name) or "" for name in names))
        for kind, each in plan
        if kind.endswith("gress_rule")
    ]


def filters(template: Template) -> list[Fact]:
    return [
        (
            each["TrafficDirection"],
            int(each["RuleNumber"]),
            int(each.get("Protocol", 0)),
            each["SourceCidrBlock"],
            each["DestinationCidrBlock"],
            tuple(each.get("SourcePortRange", {}).values()),
            tuple(each.get("DestinationPortRange", {}).values()),
        )
        for each in template.of_type("AWS::EC2::TrafficMirrorFilterRule")
    ]


def planned_filters(plan: list[Resource]) -> list[Fact]:
    return [
        (
            each["traffic_direction"],
            each["rule_number"],
            each["protocol"] or 0,
            each["source_cidr_block"],
            each["destination_cidr_block"],
            ports(each["source_port_range"]),
            ports(each["destination_port_range"]),
        )
        for kind, each in plan
        if kind == "aws_ec2_traffic_mirror_filter_rule"
    ]


def ports(given_as: list[dict[str, int]]) -> tuple[int, ...]:
    return tuple(port for each in given_as for port in (each["from_port"], each["to_port"]))


def alarms(template: Template) -> list[Fact]:
    return [
        (
            each["AlarmDescription"],
            each["ComparisonOperator"],
            each["Threshold"],
            each["EvaluationPeriods"],
            each["TreatMissingData"],
            tuple(each["AlarmActions"]),
            *sorted(metrics(each)),
        )
        for each in template.of_type("AWS::CloudWatch::Alarm")
    ]


def metrics(alarm: dict[str, Any]) -> list[str]:
    found = [each["MetricStat"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    named = [
        f"{each['Metric']['Namespace']} {each['Metric']['MetricName']} {each['Period']} {each['Stat']}"
        for each in found
    ]
    return named or [f"{alarm['Namespace']} {alarm['MetricName']} {alarm['Period']} {alarm['Statistic']}"]


def planned_alarms(plan: list[Resource]) -> list[Fact]:
    return [
        (
            each["alarm_description"],
            each["comparison_operator"],
            each["threshold"],
            each["evaluation_periods"],
            each["treat_missing_data"],
            tuple(each["alarm_actions"]),
            *sorted(planned_metrics(each)),
        )
        for kind, each in plan
        if kind == "aws_cloudwatch_metric_alarm"
    ]


def planned_metrics(alarm: dict[str, Any]) -> list[str]:
    found = [metric for each in alarm["metric_query"] or [] for metric in each["metric"]]
    named = [f"{each['namespace']} {each['metric_name']} {each['period']} {each['stat']}" for each in found]
    return named or [f"{alarm['namespace']} {alarm['metric_name']} {alarm['period']} {alarm['statistic']}"]

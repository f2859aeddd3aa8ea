"""Which tool manages a group, by the marks that the tool leaves, and the one line that fixes the group there.

A tool restores what it made: a rule that is replaced only in the group is open again after the tool's next run. Most
marks are tags, which anyone can write. So a message shows this, and nothing is decided by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from c7n_ingress.decide.opened import quoted

MANAGED = "c7n:managed-ingress"
"""The annotation under which templates find it: `{"by": …, "fix": …}`."""

IN_ANY_CASE = re.DOTALL | re.IGNORECASE


class Mark(NamedTuple):
    """A mark that a manager leaves on a group: patterns, in any case, that have to match as a whole.

    A message shows what the group of a pattern has caught, of a tag's value or else of its key.
    """

    where: str
    """The group's key: GroupName, Description or Tags."""
    pattern: str
    """For a tag, that of its key."""
    value: str = "(.*)"
    """For a tag, the pattern of its value."""


class Manager(NamedTuple):
    """A tool that makes groups, and would make this one again as it was."""

    by: str
    fix: str
    marks: tuple[Mark, ...]


# The most specific first: a Beanstalk environment's group has the tags of its CloudFormation stack, too. Below each are
# the pages that document its marks and its fix, or the code that has them where no page does.
MANAGERS = (
    Manager(
        "the AWS Load Balancer Controller, for the Ingress",
        "set the annotation alb.ingress.kubernetes.io/inbound-cidrs of that Ingress to your networks",
        (Mark("Tags", r"ingress\.k8s\.aws/stack"),),
        # https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/#access-control
        # https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/pkg/deploy/tracking/provider.go
    ),
    Manager(
        "the AWS Load Balancer Controller, for the Service",
        "set spec.loadBalancerSourceRanges of that Service, or its annotation "
        "service.beta.kubernetes.io/load-balancer-source-ranges, to your networks",
        (Mark("Tags", r"service\.k8s\.aws/stack"),),
        # https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/#access-control
        # https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/pkg/deploy/tracking/provider.go
    ),
    Manager(
        "the AWS Load Balancer Controller of the cluster",
        "set alb.ingress.kubernetes.io/inbound-cidrs of the Ingress, or spec.loadBalancerSourceRanges of the Service, "
        "to your networks",
        (Mark("Tags", r"elbv2\.k8s\.aws/cluster"), Mark("GroupName", "k8s-traffic-(.+)-[0-9a-f]{10}")),
        # https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/security_groups/
    ),
    Manager(
        "Kubernetes' own load balancers, for the Service",
        "set spec.loadBalancerSourceRanges of that Service to your networks",
        (
            Mark("Description", r"Security group for Kubernetes ELB \S+ \((.+)\)"),
            Mark("GroupName", "k8s-elb-(.+)"),
        ),
        # https://kubernetes.io/docs/tasks/access-application-cluster/configure-cloud-provider-firewall/
        # https://github.com/kubernetes/cloud-provider-aws/blob/master/pkg/providers/v1/aws.go
    ),
    Manager(
        "EKS, for SSH to the nodes of a managed node group",
        "make the node group again with remoteAccess.sourceSecurityGroups: without, EKS opens port 22 to the internet",
        (Mark("GroupName", "eks-remoteAccess-.+"),),
        # https://docs.aws.amazon.com/eks/latest/APIReference/API_RemoteAccessConfig.html
    ),
    Manager(
        "EKS, for the cluster",
        "remove the rule where it is added to the cluster's own group: EKS needs none but those of the group to "
        "itself, and a Service of type LoadBalancer has spec.loadBalancerSourceRanges",
        (Mark("Tags", "aws:eks:cluster-name"), Mark("GroupName", r"eks-cluster-sg-(.+)-\d+")),
        # https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html
    ),
    Manager(
        "the Elastic Beanstalk environment",
        "in aws:autoscaling:launchconfiguration set SSHSourceRestriction; for its load balancer, name a group of your "
        "own in ManagedSecurityGroup and SecurityGroups (aws:elbv2:loadbalancer, or aws:elb:loadbalancer)",
        (Mark("Tags", "elasticbeanstalk:environment-name"), Mark("GroupName", "awseb-(.+)")),
        # https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/command-options-general.html
    ),
    Manager(
        "Control Tower, by the stack",
        "change it through Control Tower (Account Factory's network configuration, or the landing zone's version): "
        "what is changed beside it is drift, and a reset reverts it",
        (
            Mark("Tags", "aws:cloudformation:stack-name", "(StackSet-AWSControlTower.*)"),
            Mark("GroupName", "(aws-controltower.*)"),
        ),
        # https://docs.aws.amazon.com/controltower/latest/userguide/drift.html
        # https://docs.aws.amazon.com/controltower/latest/userguide/account-factory.html
    ),
    Manager(
        "Service Catalog, by the product",
        "set CidrIp and CidrIpv6 in the template of a new version, and update the provisioned product to it",
        (Mark("Tags", "aws:servicecatalog:(?:provisionedProductArn|productArn)", "(?:.*/)?(.*)"),),
        # https://docs.aws.amazon.com/servicecatalog/latest/adminguide/autotags.html
    ),
    Manager(
        "the CloudFormation stack",
        "set CidrIp and CidrIpv6 of the group's SecurityGroupIngress in its template, and update the stack",
        (Mark("Tags", "aws:cloudformation:stack-name"),),
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-ec2-securitygroup-ingress.html
    ),
    Manager(
        "Terraform, by the tag",
        "set cidr_ipv4 and cidr_ipv6 of its aws_vpc_security_group_ingress_rule (in an aws_security_group: cidr_blocks "
        "and ipv6_cidr_blocks of ingress), and apply",
        (Mark("Tags", ".*(?:terraform|opentofu).*"), Mark("Tags", ".*", "(.*(?:terraform|opentofu).*)")),
        # https://github.com/hashicorp/terraform-provider-aws/blob/main/website/docs/r/vpc_security_group_ingress_rule.html.markdown
        # https://github.com/hashicorp/terraform-provider-aws/blob/main/website/docs/r/security_group.html.markdown
    ),
    Manager(
        "Pulumi, by the tag",
        "set cidrIpv4 and cidrIpv6 of its aws.vpc.SecurityGroupIngressRule (in an aws.ec2.SecurityGroup: cidrBlocks "
        "and ipv6CidrBlocks of ingress), and run pulumi up",
        (Mark("Tags", ".*pulumi.*"), Mark("Tags", ".*", "(.*pulumi.*)")),
        # https://www.pulumi.com/registry/packages/aws/api-docs/vpc/securitygroupingressrule/
    ),
    Manager(
        "the Kubernetes cluster",
        "set the source where the cluster is described: spec.loadBalancerSourceRanges of a Service; with kOps, "
        "sshAccess and kubernetesApiAccess",
        (Mark("Tags", r"kubernetes\.io/cluster/(.+)", ".*"),),
        # https://github.com/kubernetes/cloud-provider-aws/blob/master/pkg/providers/v1/tags.go
        # https://kops.sigs.k8s.io/cluster_spec/
    ),
    Manager(
        "RDS, which connected an instance or a function with a database",
        "in RDS, set up the connection again: its rules name a group as their source, and no network",
        (Mark("GroupName", "(?:rds-ec2|ec2-rds|rds-lambda|lambda-rds|rds-rdsproxy|rdsproxy-rds)-.+"),),
        # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/ec2-rds-connect.html
    ),
    Manager(
        "the RDS console, when somebody made a database there",
        "choose a VPC security group of your own for the next database; nothing makes the rule again by itself",
        (Mark("Description", "Created by RDS management console"), Mark("GroupName", r"rds-launch-wizard(?:-\d+)?")),
        # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.RDSSecurityGroups.html
    ),
    Manager(
        "EC2's launch wizard, when somebody started an instance there",
        "choose a security group of your own for the next instance; nothing makes the rule again by itself",
        (Mark("GroupName", r"launch-wizard-\d+"),),
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-launch-instance-wizard.html
    ),
)


def managed_by(group: Mapping[str, Any]) -> dict[str, str] | None:
    """Return which tool manages a group, with what people typed in quotes, and the line that fixes the group there."""
    for manager in MANAGERS:
        for shown in (text for mark in manager.marks for text in _found(mark, group)):
            return {"by": f"{manager.by} {quoted(shown)}" if shown else manager.by, "fix": manager.fix}
    return None


def _found(mark: Mark, group: Mapping[str, Any]) -> Iterator[str]:
    """Return what a mark has caught in a group, once for each time that it is there."""
    found = group.get(mark.where) or ()
    texts = [(found, "")] if isinstance(found, str) else [(tag["Key"], tag["Value"]) for tag in found]
    for text, value in texts:
        in_text, in_value = re.fullmatch(mark.pattern, text, IN_ANY_CASE), re.fullmatch(mark.value, value, IN_ANY_CASE)
        if in_text and in_value:
            yield next(filter(None, (*in_value.groups(), *in_text.groups())), "")

"""What the 2019 recipe's Lambda does, written from its description: the pack is compared with it.

AWS Config finds a group that is not compliant, and publishes that to SNS. This function describes the group; for each
IPv4 range that is open it authorizes the same ports for one authorized network, and revokes the open range. It makes
its client in the handler. It tells nobody, and evaluates nothing.
"""

import json

import boto3

AUTHORIZED = "198.18.7.0/24"
OPEN = "0.0.0.0/0"


def handler(event, _context=None):
    """Close the group that a notification is about."""
    for record in event["Records"]:
        close(boto3.client("ec2"), json.loads(record["Sns"]["Message"])["resourceId"])


def close(ec2, group_id):
    """Close one group: a describe, and two calls for each open range."""
    (group,) = ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    for permission in group["IpPermissions"]:
        for ipv4 in permission["IpRanges"]:
            if ipv4["CidrIp"] == OPEN:
                ports = {key: permission[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in permission}
                authorized, opened = ({**ports, "IpRanges": [{"CidrIp": cidr}]} for cidr in (AUTHORIZED, OPEN))
                ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[authorized])
                ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=[opened])


def event(group_id):
    """Return the notification about a group."""
    return {"Records": [{"Sns": {"Message": json.dumps({"resourceId": group_id})}}]}

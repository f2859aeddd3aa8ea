from threading import Thread

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from tests.support.embedded import cases

ANYWHERE = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
OFFICE = {"CidrIpv4": "198.18.7.0/24"}
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
GROUP = "sg-0a11a11a11a11a11a"
CASES = cases("ec2")


@pytest.fixture
def ec2(cloud):
    """Return a client that does not try again."""
    return cloud.session().client("ec2", config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def group(ec2):
    """Make a group with no rules, in a VPC that is not the default one."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[rule["id"] for rule in rules(ec2, group)])
    return group


def rules(ec2, group):
    """Return the rules of a group, briefly: what is always the same is left out."""
    listed = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    boring = {"GroupId", "GroupOwnerId", "SecurityGroupRuleArn", "IsEgress"}
    return [
        {"id": rule["SecurityGroupRuleId"]}
        | {key: value for key, value in rule.items() if key not in {*boring, "SecurityGroupRuleId"} and value != []}
        for rule in listed
    ]


def authorize(ec2, group, *permissions, **more):
    """Add rules, and return their ids."""
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(permissions), **more)
    return [rule["SecurityGroupRuleId"] for rule in made["SecurityGroupRules"]]


def modify(ec2, group, rule, **request):
    """Change one rule."""
    update = {"SecurityGroupRuleId": rule, "SecurityGroupRule": request}
    return ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[update])


def error(call, *args, **kwargs):
    """Return the code and the message of the error that a call ends with."""
    with pytest.raises(ClientError) as refused:
        call(*args, **kwargs)
    return refused.value.response["Error"]["Code"], refused.value.response["Error"]["Message"]


def refusal(call, *args, **kwargs):
    """Return the code of the error that a call ends with."""
    return error(call, *args, **kwargs)[0]


def group_shown(ec2, group):
    """Return a group as it is described, without what is empty."""
    (shown,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return {key: value for key, value in shown.items() if value}


def tcp(port, *cidrs, **more):
    """Return a permission for one port; CIDRs are IPv6 if they look like it."""
    return (
        {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
        | more
        | {
            "IpRanges": [{"CidrIp": cidr} for cidr in cidrs if ":" not in cidr],
            "Ipv6Ranges": [{"CidrIpv6": cidr} for cidr in cidrs if ":" in cidr],
        }
    )


class TestWhatARuleIs:
    """What a rule is made of."""

    @pytest.mark.parametrize(
        ("given", "permission", "rule"),
        [
            ({"IpProtocol": "6", "FromPort": 22, "ToPort": 22}, ("tcp", 22, 22), ("tcp", 22, 22)),
            ({"IpProtocol": "17", "FromPort": 53, "ToPort": 53}, ("udp", 53, 53), ("udp", 53, 53)),
            ({"IpProtocol": "1", "FromPort": 8, "ToPort": -1}, ("icmp", 8, -1), ("icmp", 8, -1)),
            ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1}, ("icmp", -1, -1), ("icmp", -1, -1)),
            ({"IpProtocol": "58"}, ("icmpv6", -1, -1), ("icmpv6", -1, -1)),
            ({"IpProtocol": "-1"}, ("-1", None, None), ("-1", -1, -1)),
            ({"IpProtocol": "-1", "FromPort": 0, "ToPort": 65535}, ("-1", None, None), ("-1", -1, -1)),
            ({"IpProtocol": "50"}, ("50", None, None), ("50", -1, -1)),
            ({"IpProtocol": "50", "FromPort": 0, "ToPort": 0}, ("50", None, None), ("50", -1, -1)),
        ],
    )
    def test_protocols_and_ports(self, ec2, group, given, permission, rule):
        """Four protocols have names and ports; all ports are absent from permissions and -1 in rules."""
        authorize(ec2, group, given | {"Ipv6Ranges": [{"CidrIpv6": "2001:2::/48"}]})
        (shown,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        assert (shown["IpProtocol"], shown.get("FromPort"), shown.get("ToPort")) == permission
        (shown,) = rules(ec2, group)
        assert (shown["IpProtocol"], shown["FromPort"], shown["ToPort"]) == rule

    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            ("100.68.0.18/18", "100.68.0.0/18"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:0DB8:0:0:0:0:0:5/64", "2001:db8::/64"),
            ("::/0", "::/0"),
        ],
    )
    def test_cidrs_are_canonical(self, ec2, group, given, stored):
        """EC2 stores 100.68.0.18/18 as 100.68.0.0/18 (API reference, IpRange)."""
        authorize(ec2, group, tcp(22, given))
        (rule,) = rules(ec2, group)
        assert rule.get("CidrIpv4", rule.get("CidrIpv6")) == stored

    def test_one_rule_for_each_source(self, ec2, group):
        """A permission is shown as one, and has one rule, with its id, for each source."""
        ids = authorize(ec2, group, tcp(22, "198.18.0.0/24", "198.18.1.0/24", "2001:2::/48"))
        assert len(set(ids)) == 3
        (permission,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        assert permission == tcp(22, "198.18.0.0/24", "198.18.1.0/24", "2001:2::/48") | {
            "PrefixListIds": [],
            "UserIdGroupPairs": [],
        }

    @pytest.mark.parametrize(
        "permission",
        [
            tcp(22, "198.18.0.0/33"),
            tcp(22, "198.18.0.0"),
            tcp(22, "2001:2::/129"),
            tcp(22, "198.18.0.0/24") | {"IpProtocol": "esp"},
            {"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "198.18.0.0/24"}]},
            {"FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.18.0.0/24"}]},
            tcp(22, "198.18.0.0/24", "198.18.0.5/24"),
        ],
    )
    def test_malformed(self, ec2, group, permission):
        """EC2 refuses what is no CIDR, protocol or port range, and what says the same rule twice."""
        assert refusal(authorize, ec2, group, permission) == "InvalidParameterValue"
        assert rules(ec2, group) == []

    @pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["name"])
    def test_traffic_that_does_not_exist(self, ec2, group, case):
        """EC2 takes no protocol, port, ICMP type or code that does not exist, and changes nothing then."""
        (rule,) = authorize(ec2, group, tcp(443, "198.18.7.0/24"))
        before = rules(ec2, group)
        wrong = case["rule"] | {"IpRanges": [{"CidrIp": "198.18.9.0/24"}]}
        for call in (ec2.authorize_security_group_ingress, ec2.authorize_security_group_egress):
            request = {"GroupId": group, "IpPermissions": [tcp(22, "198.18.8.0/24"), wrong]}
            assert error(call, **request) == ("InvalidParameterValue", case["says"])
        changed = case["rule"] | {"CidrIpv4": "198.18.9.0/24"}
        assert error(modify, ec2, group, rule, **changed) == ("InvalidParameterValue", case["says"])
        assert rules(ec2, group) == before

    @pytest.mark.parametrize("traffic", CASES["taken"], ids=str)
    def test_traffic_that_exists(self, ec2, group, traffic):
        """EC2 takes the first and the last protocol, port, ICMP type and code, in a new rule and in a changed one."""
        (rule,) = authorize(ec2, group, tcp(443, "198.18.7.0/24"))
        authorize(ec2, group, traffic | {"IpRanges": [{"CidrIp": "198.18.8.0/24"}]})
        modify(ec2, group, rule, **traffic, **OFFICE)
        first, second = rules(ec2, group)
        assert all(first[key] == second[key] for key in ("IpProtocol", "FromPort", "ToPort"))


class TestAuthorize:
    """Adding rules."""

    def test_answer(self, ec2, group):
        """The answer lists the new rules with their ids (API reference, AuthorizeSecurityGroupIngressResult)."""
        answer = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ANYWHERE])
        (rule,) = answer["SecurityGroupRules"]
        rule_id = rule["SecurityGroupRuleId"]
        assert answer["Return"]
        assert rule == SSH | {
            "SecurityGroupRuleId": rule_id,
            "GroupId": group,
            "GroupOwnerId": "123456789012",
            "IsEgress": False,
            "CidrIpv4": "0.0.0.0/0",
            "Tags": [],
            "SecurityGroupRuleArn": f"arn:aws:ec2:us-east-1:123456789012:security-group-rule/{rule_id}",
        }

    @pytest.mark.parametrize("cidr", ["198.18.7.0/24", "198.18.7.5/24", "2001:2::/48", "2001:2:0:0::1/48"])
    def test_duplicate(self, ec2, group, cidr):
        """What is there in canonical form is a duplicate, and then nothing of the request is added."""
        authorize(ec2, group, tcp(22, "198.18.7.0/24", "2001:2::/48"))
        before = rules(ec2, group)
        assert refusal(authorize, ec2, group, tcp(443, "198.18.9.0/24"), tcp(22, cidr)) == "InvalidPermission.Duplicate"
        assert rules(ec2, group) == before

    def test_duplicate_but_for_the_description(self, ec2, group):
        """A description makes no rule another one."""
        authorize(ec2, group, ANYWHERE)
        described = ANYWHERE | {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "office"}]}
        assert refusal(authorize, ec2, group, described) == "InvalidPermission.Duplicate"

    @pytest.mark.parametrize("description", ["caf\u00e9", "it's", "a" * 256])
    def test_descriptions(self, ec2, group, description):
        """A description has 255 characters at most, from a small set that lacks the apostrophe."""
        described = tcp(22) | {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": description}]}
        assert refusal(authorize, ec2, group, described) == "InvalidParameterValue"
        (rule,) = authorize(ec2, group, ANYWHERE)
        request = SSH | OFFICE | {"Description": description}
        assert refusal(modify, ec2, group, rule, **request) == "InvalidParameterValue"

    def test_tags(self, ec2, group):
        """The request's tags go to every rule that it makes."""
        tags = [{"Key": "Team", "Value": "net"}]
        spec = [{"ResourceType": "security-group-rule", "Tags": tags}]
        authorize(ec2, group, tcp(22, "198.18.0.0/24", "2001:2::/48"), TagSpecifications=spec)
        assert [rule["Tags"] for rule in rules(ec2, group)] == [tags, tags]

    @pytest.mark.parametrize("case", CASES["tags"], ids=lambda case: case["name"])
    def test_which_tags(self, ec2, group, case):
        """A rule has 50 tags at most, with keys that are not AWS's; a request for others adds nothing."""
        keys = case.get("keys") or [f"key-{number}" for number in range(case["count"])]
        spec = [{"ResourceType": "security-group-rule", "Tags": [{"Key": key, "Value": "a value"} for key in keys]}]
        if "code" not in case:
            authorize(ec2, group, ANYWHERE, TagSpecifications=spec)
            (rule,) = rules(ec2, group)
            assert sorted(tag["Key"] for tag in rule["Tags"]) == sorted(keys)
            return
        code, says = error(authorize, ec2, group, ANYWHERE, TagSpecifications=spec)
        assert (code, says.endswith(case.get("says", ""))) == (case["code"], True)
        assert rules(ec2, group) == []
        tags = spec[0]["Tags"]
        assert refusal(ec2.create_tags, Resources=[group], Tags=tags) == case["code"]
        assert "Tags" not in group_shown(ec2, group)
        spec = [{"ResourceType": "security-group", "Tags": tags}]
        create = ec2.create_security_group
        assert refusal(create, GroupName="a", Description="a", TagSpecifications=spec) == case["code"]

    def test_unknown_sources(self, ec2, group):
        """A group of the account or a prefix list that is not there is refused."""
        pair = {"UserIdGroupPairs": [{"GroupId": GROUP}]}
        assert refusal(authorize, ec2, group, SSH | pair) == "InvalidGroup.NotFound"
        prefix_list = {"PrefixListIds": [{"PrefixListId": "pl-0123456789abcdef0"}]}
        assert refusal(authorize, ec2, group, SSH | prefix_list) == "InvalidPrefixListID.NotFound"

    def test_groups_of_other_accounts(self, ec2, group):
        """A reference names the account that owns the group."""
        authorize(ec2, group, SSH | {"UserIdGroupPairs": [{"GroupId": GROUP, "UserId": "210987654321"}]})
        (rule,) = rules(ec2, group)
        assert rule["ReferencedGroupInfo"] == {"GroupId": GROUP, "UserId": "210987654321"}

    def test_unknown_group(self, ec2):
        """A group that is not there is InvalidGroup.NotFound for every call that names it."""
        assert refusal(authorize, ec2, GROUP, ANYWHERE) == "InvalidGroup.NotFound"
        assert refusal(modify, ec2, GROUP, "sgr-1", **SSH, **OFFICE) == "InvalidGroup.NotFound"
        assert refusal(ec2.describe_security_groups, GroupIds=[GROUP]) == "InvalidGroup.NotFound"


class TestQuota:
    """How many rules a group may have."""

    def test_families_apart(self, ec2, group):
        """60 rules a direction for IPv4, and 60 for IPv6 (Amazon VPC quotas)."""
        authorize(
            ec2, group, tcp(22, *(f"198.18.{n}.0/24" for n in range(60)), *(f"2001:2:{n}::/48" for n in range(60)))
        )
        assert refusal(authorize, ec2, group, tcp(22, "198.19.0.0/24")) == "RulesPerSecurityGroupLimitExceeded"
        assert refusal(authorize, ec2, group, tcp(22, "2001:3::/48")) == "RulesPerSecurityGroupLimitExceeded"
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(22, "198.19.0.0/24")])
        assert len(rules(ec2, group)) == 121

    def test_all_or_nothing(self, ec2, group):
        """A request that only partly fits adds nothing."""
        authorize(ec2, group, tcp(22, *(f"198.18.{n}.0/24" for n in range(59))))
        more = tcp(443, "198.19.0.0/24", "198.19.1.0/24")
        assert refusal(authorize, ec2, group, more) == "RulesPerSecurityGroupLimitExceeded"
        assert len(rules(ec2, group)) == 59

    def test_prefix_list_counts_its_maximum(self, ec2, group):
        """A rule for a prefix list counts the most entries that the list may have, in the list's family."""
        made = ec2.create_managed_prefix_list(PrefixListName="office", MaxEntries=20, AddressFamily="IPv4")
        source = {"PrefixListIds": [{"PrefixListId": made["PrefixList"]["PrefixListId"]}]}
        for port in (22, 443, 3389):
            authorize(ec2, group, tcp(port) | source)
        assert refusal(authorize, ec2, group, tcp(22, "198.18.0.0/24")) == "RulesPerSecurityGroupLimitExceeded"
        authorize(ec2, group, tcp(22, "2001:2::/48"))

    def test_references_count_in_both_families(self, cloud, ec2, group):
        """A rule for a group counts for IPv4 and for IPv6."""
        cloud.ec2.rules_per_group = 1
        authorize(ec2, group, SSH | {"UserIdGroupPairs": [{"GroupId": group}]})
        for cidr in ("198.18.0.0/24", "2001:2::/48"):
            assert refusal(authorize, ec2, group, tcp(22, cidr)) == "RulesPerSecurityGroupLimitExceeded"

    def test_raised_quota(self, cloud, ec2, group):
        """An account may have another quota."""
        cloud.ec2.rules_per_group = 100
        assert len(authorize(ec2, group, tcp(22, *(f"198.18.{n}.0/24" for n in range(100))))) == 100

    def test_full_group_can_be_modified(self, cloud, ec2, group):
        """A change that adds nothing is no matter for the quota, be the group ever so full."""
        rule, *_ = authorize(ec2, group, tcp(22, "0.0.0.0/0", "198.18.0.0/24"))
        cloud.ec2.rules_per_group = 1
        modify(ec2, group, rule, **SSH, **OFFICE)


class TestModify:
    """Changing rules in place."""

    @pytest.mark.parametrize(
        ("before", "request_", "after"),
        [
            (tcp(22, "0.0.0.0/0"), SSH | {"CidrIpv4": "198.18.7.0/24"}, SSH | {"CidrIpv4": "198.18.7.0/24"}),
            (tcp(22, "::/0"), SSH | {"CidrIpv6": "2001:2::/48"}, SSH | {"CidrIpv6": "2001:2::/48"}),
            (
                {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
                {"IpProtocol": "-1", "CidrIpv4": "198.18.7.0/24"},
                {"IpProtocol": "-1", "FromPort": -1, "ToPort": -1, "CidrIpv4": "198.18.7.0/24"},
            ),
            (
                {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
                {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "CidrIpv4": "198.18.7.0/24"},
                {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "CidrIpv4": "198.18.7.0/24"},
            ),
            (
                {"IpProtocol": "50", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
                {"IpProtocol": "50", "CidrIpv6": "2001:2::/48"},
                {"IpProtocol": "50", "FromPort": -1, "ToPort": -1, "CidrIpv6": "2001:2::/48"},
            ),
            (
                tcp(22, "0.0.0.0/0"),
                {"IpProtocol": "udp", "FromPort": 53, "ToPort": 54, "CidrIpv4": "198.18.7.0/24"},
                {"IpProtocol": "udp", "FromPort": 53, "ToPort": 54, "CidrIpv4": "198.18.7.0/24"},
            ),
        ],
    )
    def test_in_place(self, ec2, group, before, request_, after):
        """Source, protocol and ports change, the rule's id stays."""
        (rule,) = authorize(ec2, group, before)
        modify(ec2, group, rule, **request_)
        assert rules(ec2, group) == [{"id": rule} | after]

    def test_prefix_lists(self, ec2, group):
        """A prefix list becomes another one, if that is there."""
        lists = [
            ec2.create_managed_prefix_list(PrefixListName=name, MaxEntries=1, AddressFamily="IPv4")["PrefixList"]
            for name in ("old", "new")
        ]
        old, new = (each["PrefixListId"] for each in lists)
        (rule,) = authorize(ec2, group, SSH | {"PrefixListIds": [{"PrefixListId": old}]})
        modify(ec2, group, rule, **SSH, PrefixListId=new)
        assert rules(ec2, group) == [{"id": rule, **SSH, "PrefixListId": new}]
        unknown = SSH | {"PrefixListId": "pl-0123456789abcdef0"}
        assert refusal(modify, ec2, group, rule, **unknown) == "InvalidPrefixListID.NotFound"

    def test_referenced_groups(self, ec2, group):
        """A referenced group becomes another one."""
        other = ec2.create_security_group(GroupName="other", Description="other")["GroupId"]
        (rule,) = authorize(ec2, group, SSH | {"UserIdGroupPairs": [{"GroupId": group}]})
        modify(ec2, group, rule, **SSH, ReferencedGroupId=other)
        (shown,) = rules(ec2, group)
        assert shown["ReferencedGroupInfo"]["GroupId"] == other

    def test_tags_stay_and_description_goes(self, ec2, group):
        """A modified rule keeps its tags, and loses a description that the request leaves out."""
        tags = [{"Key": "Team", "Value": "net"}]
        open_ = tcp(22) | {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all of it"}]}
        spec = [{"ResourceType": "security-group-rule", "Tags": tags}]
        (rule,) = authorize(ec2, group, open_, TagSpecifications=spec)
        modify(ec2, group, rule, **SSH, **OFFICE, Description="office")
        assert rules(ec2, group) == [{"id": rule, **SSH, **OFFICE, "Description": "office", "Tags": tags}]
        modify(ec2, group, rule, **SSH, **OFFICE)
        assert rules(ec2, group) == [{"id": rule, **SSH, **OFFICE, "Tags": tags}]

    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            (SSH | {"CidrIpv6": "2001:2::/48"}, "InvalidParameterValue"),
            (SSH | {"PrefixListId": "pl-0123456789abcdef0"}, "InvalidParameterValue"),
            (SSH | {"ReferencedGroupId": GROUP}, "InvalidParameterValue"),
            (SSH | {"CidrIpv4": "198.18.7.5/24"}, "InvalidParameterValue"),
            (SSH | {"CidrIpv4": "198.18.7.0"}, "InvalidParameterValue"),
            (OFFICE, "InvalidParameterValue"),
            (OFFICE | {"IpProtocol": "tcp"}, "InvalidParameterValue"),
            (OFFICE | {"IpProtocol": "-1", "FromPort": 0, "ToPort": 65535}, "InvalidParameterValue"),
            (OFFICE | {"IpProtocol": "50", "FromPort": -1, "ToPort": -1}, "InvalidParameterValue"),
            (SSH, "InvalidParameterValue"),
            (SSH | OFFICE | {"CidrIpv6": "2001:2::/48"}, "InvalidParameterValue"),
            (SSH | {"CidrIpv4": "198.18.9.0/24"}, "InvalidPermission.Duplicate"),
        ],
    )
    def test_refused(self, ec2, group, request_, code):
        """A rule keeps its type, has one canonical source, ports if its protocol has any, and no twin."""
        rule, _ = authorize(ec2, group, tcp(22, "0.0.0.0/0", "198.18.9.0/24"))
        before = rules(ec2, group)
        assert refusal(modify, ec2, group, rule, **request_) == code
        assert rules(ec2, group) == before

    def test_all_or_nothing(self, ec2, group):
        """One rule that is refused, and none is changed."""
        first, second = authorize(ec2, group, tcp(22, "0.0.0.0/0", "198.18.9.0/24"))
        before = rules(ec2, group)
        updates = [
            {"SecurityGroupRuleId": first, "SecurityGroupRule": SSH | {"CidrIpv4": "198.18.7.0/24"}},
            {"SecurityGroupRuleId": second, "SecurityGroupRule": SSH | {"CidrIpv6": "2001:2::/48"}},
        ]
        change = ec2.modify_security_group_rules
        assert refusal(change, GroupId=group, SecurityGroupRules=updates) == "InvalidParameterValue"
        assert rules(ec2, group) == before

    def test_two_rules_into_one(self, ec2, group):
        """Rules that one request makes the same are refused, as are rules that one request adds twice."""
        ids = authorize(ec2, group, tcp(22, "0.0.0.0/1", "128.0.0.0/1"))
        updates = [{"SecurityGroupRuleId": each, "SecurityGroupRule": SSH | OFFICE} for each in ids]
        change = ec2.modify_security_group_rules
        assert refusal(change, GroupId=group, SecurityGroupRules=updates) == "InvalidParameterValue"

    def test_unknown_ids(self, ec2, group):
        """An id that is gone or another group's is not found."""
        other = ec2.create_security_group(GroupName="other", Description="other")["GroupId"]
        (foreign,) = authorize(ec2, other, ANYWHERE)
        (gone,) = authorize(ec2, group, ANYWHERE)
        ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[gone])
        for rule in (foreign, gone):
            assert refusal(modify, ec2, group, rule, **SSH, **OFFICE) == "InvalidSecurityGroupRuleId.NotFound"


class TestRevoke:
    """Removing rules."""

    def test_by_id(self, ec2, group):
        """Rules are removed by their ids, and the answer lists them."""
        rule, kept = authorize(ec2, group, tcp(22, "0.0.0.0/0", "198.18.9.0/24"))
        answer = ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[rule])
        assert answer["RevokedSecurityGroupRules"] == [
            {"SecurityGroupRuleId": rule, "GroupId": group, "IsEgress": False, **SSH, "CidrIpv4": "0.0.0.0/0"}
        ]
        assert [each["id"] for each in rules(ec2, group)] == [kept]

    def test_unknown_id(self, ec2, group):
        """One id that is not there, and no rule goes."""
        (rule,) = authorize(ec2, group, ANYWHERE)
        ids = [rule, "sgr-0123456789abcdef0"]
        revoke = ec2.revoke_security_group_ingress
        assert refusal(revoke, GroupId=group, SecurityGroupRuleIds=ids) == "InvalidSecurityGroupRuleId.NotFound"
        assert len(rules(ec2, group)) == 1

    def test_by_properties(self, ec2, group):
        """Rules go by what they say; the description need not be said."""
        authorize(ec2, group, tcp(22) | {"IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all of it"}]})
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[ANYWHERE])
        assert rules(ec2, group) == []

    def test_by_unknown_properties(self, ec2, group):
        """Outside the default VPC, one rule that is not there, and no rule goes."""
        authorize(ec2, group, ANYWHERE)
        said = [ANYWHERE, tcp(443, "0.0.0.0/0")]
        revoke = ec2.revoke_security_group_ingress
        assert refusal(revoke, GroupId=group, IpPermissions=said) == "InvalidPermission.NotFound"
        assert len(rules(ec2, group)) == 1

    def test_by_unknown_properties_in_the_default_vpc(self, ec2):
        """In the default VPC there is no error: the answer lists what was not there, and returns true."""
        group = ec2.create_security_group(GroupName="web", Description="web")["GroupId"]
        authorize(ec2, group, ANYWHERE)
        said = [ANYWHERE, tcp(443, "0.0.0.0/0")]
        answer = ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=said)
        assert answer["Return"]
        assert [each["FromPort"] for each in answer["UnknownIpPermissions"]] == [443]
        assert [rule for rule in rules(ec2, group) if rule["IpProtocol"] == "tcp"] == []


class TestDescribe:
    """Reading groups and rules."""

    def test_pages_of_rules(self, ec2, group):
        """Rules come in pages of 5 to 1000, or all at once."""
        authorize(ec2, group, tcp(22, *(f"198.18.{n}.0/24" for n in range(12))))
        of_group = {"Filters": [{"Name": "group-id", "Values": [group]}]}
        pages = list(
            ec2.get_paginator("describe_security_group_rules").paginate(**of_group, PaginationConfig={"PageSize": 5})
        )
        assert [len(page["SecurityGroupRules"]) for page in pages] == [5, 5, 2]
        assert len({rule["SecurityGroupRuleId"] for page in pages for rule in page["SecurityGroupRules"]}) == 12
        assert len(rules(ec2, group)) == 12

    def test_pages_of_groups(self, ec2):
        """Groups come in pages of 5 to 1000, or all at once."""
        load_groups({"GroupId": f"sg-{n:017x}", "VpcId": "vpc-1", "IpPermissions": []} for n in range(11))
        of_vpc = {"Filters": [{"Name": "vpc-id", "Values": ["vpc-1"]}]}
        pages = ec2.get_paginator("describe_security_groups").paginate(**of_vpc, PaginationConfig={"PageSize": 5})
        assert [len(page["SecurityGroups"]) for page in pages] == [5, 5, 1]
        assert len(ec2.describe_security_groups(**of_vpc)["SecurityGroups"]) == 11

    @pytest.mark.parametrize("call", ["describe_security_groups", "describe_security_group_rules"])
    def test_page_size(self, ec2, call):
        """More than 1000 a page are refused; botocore itself refuses less than 5."""
        assert refusal(getattr(ec2, call), MaxResults=1001) == "InvalidParameterValue"

    @pytest.mark.parametrize("call", ["describe_security_groups", "describe_security_group_rules"])
    def test_filter_values(self, ec2, group, call):
        """A filter takes 200 values; a group that is not there is no error in a filter."""
        describe = getattr(ec2, call)
        values = [group, *(f"sg-{n:017x}" for n in range(200))]
        describe(Filters=[{"Name": "group-id", "Values": values[:200]}])
        assert refusal(describe, Filters=[{"Name": "group-id", "Values": values}]) == "FilterLimitExceeded"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("group-name", "web"),
            ("vpc-id", "vpc-1"),
            ("tag:Team", "net"),
            ("tag-key", "Team"),
        ],
    )
    def test_filters(self, ec2, name, value):
        """Groups are found by what they are."""
        load_groups(
            [
                {
                    "GroupId": GROUP,
                    "GroupName": "web",
                    "VpcId": "vpc-1",
                    "Tags": [{"Key": "Team", "Value": "net"}],
                    "IpPermissions": [ANYWHERE],
                    "IpPermissionsEgress": [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}],
                }
            ]
        )
        found = ec2.describe_security_groups(Filters=[{"Name": name, "Values": [value]}])["SecurityGroups"]
        assert [group["GroupId"] for group in found] == [GROUP]

    def test_unknown_filter(self, ec2):
        """A filter that EC2 does not know is refused."""
        for describe in (ec2.describe_security_groups, ec2.describe_security_group_rules):
            assert refusal(describe, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"

    def test_rules_by_id(self, ec2, group):
        """Rules are found by id, which must all be there."""
        rule, _ = authorize(ec2, group, tcp(22, "0.0.0.0/0", "::/0"))
        describe = ec2.describe_security_group_rules
        (found,) = describe(SecurityGroupRuleIds=[rule])["SecurityGroupRules"]
        assert found["CidrIpv4"] == "0.0.0.0/0"
        unknown = ["sgr-0123456789abcdef0"]
        assert refusal(describe, SecurityGroupRuleIds=unknown) == "InvalidSecurityGroupRuleId.NotFound"

    def test_lag(self, cloud, ec2, group):
        """Describes may show a group as it was for a while, as EC2 is eventually consistent; changes never do."""
        cloud.ec2.lag = 2
        (rule,) = authorize(ec2, group, ANYWHERE)
        modify(ec2, group, rule, **SSH, **OFFICE)
        assert [rules(ec2, group) for _ in range(3)] == [[], [], [{"id": rule, **SSH, **OFFICE}]]


class TestGroups:
    """Groups themselves."""

    def test_new_group(self, ec2):
        """A new group lets everything out and nothing in."""
        group = ec2.create_security_group(GroupName="web", Description="web")["GroupId"]
        (shown,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        assert shown["IpPermissions"] == []
        assert [each["IpRanges"] for each in shown["IpPermissionsEgress"]] == [[{"CidrIp": "0.0.0.0/0"}]]

    def test_default_group(self, ec2):
        """A VPC's default group lets its own members in (Amazon VPC user guide, default security groups)."""
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        (group,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
        (permission,) = group["IpPermissions"]
        assert group["GroupName"] == "default"
        assert [pair["GroupId"] for pair in permission["UserIdGroupPairs"]] == [group["GroupId"]]

    def test_loaded_groups_are_shown_as_given(self, cloud):
        """A group that was exported somewhere else is shown as it was there, whatever it refers to."""
        given = {
            "GroupId": GROUP,
            "GroupName": "web",
            "Description": "web",
            "OwnerId": "210987654321",
            "VpcId": "vpc-0123456789abcdef0",
            "SecurityGroupArn": f"arn:aws:ec2:eu-west-1:210987654321:security-group/{GROUP}",
            "Tags": [{"Key": "Team", "Value": "net"}],
            "IpPermissions": [
                {
                    "IpProtocol": "tcp",
                    "FromPort": 22,
                    "ToPort": 22,
                    "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all of it"}],
                    "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
                    "PrefixListIds": [{"PrefixListId": "pl-63a5400a", "Description": "S3"}],
                    "UserIdGroupPairs": [
                        {
                            "GroupId": "sg-0b22b22b22b22b22b",
                            "UserId": "999999999999",
                            "VpcId": "vpc-2",
                            "VpcPeeringConnectionId": "pcx-1",
                            "PeeringStatus": "active",
                        }
                    ],
                }
            ],
            "IpPermissionsEgress": [],
        }
        load_groups([given], region="eu-west-1")
        ec2 = cloud.session("eu-west-1", "210987654321").client("ec2")
        of_vpc = [{"Name": "vpc-id", "Values": [given["VpcId"]]}]
        assert ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"] == [given]
        (rule,) = (rule for rule in rules(ec2, GROUP) if rule.get("CidrIpv4"))
        modify(ec2, GROUP, rule["id"], **SSH, **OFFICE)

    def test_groups_of_another_owner(self, ec2):
        """A group that another account shares is seen, with its owner, and cannot be changed."""
        load_groups(
            [{"GroupId": GROUP, "OwnerId": "210987654321", "IpPermissions": [ANYWHERE]}], account="123456789012"
        )
        (group,) = ec2.describe_security_groups(GroupIds=[GROUP])["SecurityGroups"]
        assert group["OwnerId"] == "210987654321"
        assert group["SecurityGroupArn"].split(":")[4] == "210987654321"
        (rule,) = rules(ec2, GROUP)
        assert refusal(modify, ec2, GROUP, rule["id"], **SSH, **OFFICE) == "UnauthorizedOperation"

    def test_loaded_groups_may_lack_what_is_empty(self, ec2):
        """Absent or null lists, owners and names are no obstacle."""
        load_groups([{"GroupId": GROUP, "Tags": None, "IpPermissions": [SSH | {"IpRanges": None}]}])
        (group,) = ec2.describe_security_groups(GroupIds=[GROUP])["SecurityGroups"]
        assert (group["GroupName"], group["OwnerId"], group["IpPermissions"]) == (GROUP, "123456789012", [])

    def test_tags(self, ec2, group):
        """Groups and rules are tagged and untagged by the calls that tag everything else."""
        (rule,) = authorize(ec2, group, ANYWHERE)
        ec2.create_tags(Resources=[group, rule], Tags=[{"Key": "Team", "Value": "net"}])
        assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["Tags"][0]["Value"] == "net"
        assert rules(ec2, group)[0]["Tags"] == [{"Key": "Team", "Value": "net"}]
        ec2.delete_tags(Resources=[group, rule], Tags=[{"Key": "Team"}])
        assert "Tags" not in rules(ec2, group)[0]

    def test_changes_at_the_same_moment(self, cloud, ec2, group):
        """Calls that come at once change a group one after another."""
        clients = [cloud.session().client("ec2") for _ in range(4)]
        calls = [
            Thread(target=authorize, args=(client, group, tcp(22, *(f"198.18.{n}.{i}/32" for i in range(8)))))
            for n, client in enumerate(clients)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        assert len(rules(ec2, group)) == 32

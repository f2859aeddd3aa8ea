import pytest

from c7n_ingress_tools.mailer.recipients import Recipients

CONFIG = {
    "queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/custodian-mailer",
    "recipients": ["*@example.com", "*@firm.example", "slack://#ops-*"],
}


@pytest.mark.parametrize(
    ("recipient", "allowed"),
    [
        ("arn:aws:sns:eu-central-1:123456789012:open-ingress", True),
        ("arn:aws:sns:eu-central-1:999999999999:open-ingress", False),
        ("Jane.Doe+aws@Example.com", True),
        ("Jane@FIRM.example", True),
        ("jane@f\u0131rm.example", False),  # another domain, with a dotless i
        ("jane@example.com.evil.example", False),
        ("jane%evil.example@example.com", False),
        ("=?utf-8?q?jane=40evil.example=2C?=@example.com", False),
        ("jane@evil.example,x@example.com", False),
        ("slack://#ops-night", True),
        ("slack://#ops-night/other", False),
    ],
)
def test_what_a_pattern_allows(recipient, allowed):
    """In a pattern, `*` stands for a part of a name, and for nothing that mail servers read as another address."""
    assert Recipients(CONFIG).allow(recipient) is allowed

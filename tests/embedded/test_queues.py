from moto.sqs.models import sqs_backends

from c7n_ingress_tools.embedded_aws import services


def test_a_message_is_given_until_it_is_too_old(cloud):
    """A queue returns messages younger than its retention and none older, as moto's does at more cost."""
    sqs = cloud.session().client("sqs")
    attributes = {"MessageRetentionPeriod": "60", "VisibilityTimeout": "0"}
    url = sqs.create_queue(QueueName="q", Attributes=attributes)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="news")
    backend = sqs_backends["123456789012"]["us-east-1"]
    assert backend.is_message_valid_based_on_retention_period.__module__ == services.__name__
    (message,) = backend.queues["q"]._messages
    for age, given in ((0, True), (59, True), (61, False)):
        message.sent_timestamp -= age * 1000
        assert ("Messages" in sqs.receive_message(QueueUrl=url)) is given
        message.sent_timestamp += age * 1000

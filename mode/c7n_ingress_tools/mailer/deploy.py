"""Deploy the mailer: `c7n-ingress mailer deploy -c mode/mailer.yml`.

Creates or updates the function with c7n's own LambdaManager, and makes SQS invoke it. A second run changes nothing.
mode/stack.yml creates the role and the queue before. (`c7n-mailer --update-lambda` wants packages that it does
not depend on, and polls the queue every five minutes.)
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import yaml
from c7n.mu import LambdaFunction, LambdaManager, PythonPackageArchive, generate_requirements

import c7n_ingress
from c7n_ingress_tools.extras import requires_extra
from c7n_ingress_tools.names import VERSION_TAG
from c7n_ingress_tools.pack import PACK

with requires_extra("mailer"):
    from c7n_mailer.cli import CONFIG_SCHEMA
    from c7n_mailer.utils import setup_defaults

    from c7n_ingress_tools.mailer.lambda_entry import CHANNELS

HERE = Path(__file__).parent
CONFIG = PACK / "mode" / "mailer.yml"

IMPORTED = ["atlassian-python-api", "jinja2", "ldap3", "pyyaml", "redis", "requests", "sendgrid"]
"""What the channels import, and c7n-mailer on its way to SES and SMTP."""
PROVIDED = ("six", "urllib3")
"""What of it is in Lambda's image, beside boto3."""
STAY = ("deploy.py", "preview.py")
"""What is of no use in the Lambda."""
TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}}
NOT_DELIVERED = (
    "account_emails", "cross_accounts", "sendgrid_api_key", "graph_sendmail_endpoint", "splunk_hec_url",
    "datadog_api_key",
)  # fmt: skip
"""Ways to deliver that the Lambda's entry does not know, and so would leave out."""
KEYS = {key: schema for key, schema in CONFIG_SCHEMA["properties"].items() if key not in NOT_DELIVERED}
KEYS |= {
    "recipients": TEXTS,
    "journals": TEXTS,
    "senders": {"type": "object", "patternProperties": {"^A[A-Z0-9]+$": {"type": "string", "pattern": r"^\d{12}$"}}}
    | {"additionalProperties": False},
}
KEYS |= {key: schema for channel in CHANNELS for key, schema in channel.KEYS.items()}
"""What mailer.yml may hold: c7n-mailer's keys, and the pack's own."""
SCHEMA = CONFIG_SCHEMA | {"properties": KEYS, "required": [*CONFIG_SCHEMA["required"], "role"]}
"""What mailer.yml is: c7n-mailer's schema, but the function needs a role."""
TRIGGER = {"BatchSize": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
"""How the queue invokes the function, with partial batch responses.

One message a call: a delivery that hangs until the function's time is over takes no other message with it.
"""


def read_config(path: Path, region: str | None = None) -> dict[str, Any]:
    """Read a configuration as c7n-mailer does, with its defaults.

    :raises ValueError: it is none, or asks for a delivery that the Lambda does not have.
    """
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if config is None:
        raise ValueError("the file is empty: `c7n-ingress init DIR` writes one into another folder")
    try:
        jsonschema.validate(config, SCHEMA)
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path))
        said = f" {error.schema['description']}" if "description" in error.schema else f": {error.message}"
        raise ValueError(f"{where}{said}".removeprefix(": ")) from error
    if region:
        config["region"] = region
    setup_defaults(config)
    return config


def deploy(config: dict[str, Any], session: boto3.Session) -> str:
    """Create or update the function and its event source, and return the function's ARN."""
    sqs = session.client("sqs")
    queue_url = sqs.get_queue_url(QueueName=queue_name(config))["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    partition, _, _, account = queue_arn.split(":")[1:5]
    role = config["role"]
    function = LambdaFunction(
        {
            "name": config.get("lambda_name", "custodian-mailer"),
            "description": config.get("lambda_description", ""),
            "tags": {**config.get("lambda_tags", {}), VERSION_TAG: metadata.version("c7n-ingress")},
            "handler": "c7n_ingress_tools.mailer.lambda_entry.handle",
            "runtime": config["runtime"],
            "memory_size": config["memory"],
            "timeout": config["timeout"],
            "role": role if role.startswith("arn:") else f"arn:{partition}:iam::{account}:role/{role}",
            "subnets": config["subnets"],
            "security_groups": config["security_groups"],
            "dead_letter_config": config.get("dead_letter_config", {}),
        },
        build_archive(config | {"queue_url": queue_url}),
    )
    arn = str(LambdaManager(lambda: session).publish(function)["FunctionArn"])
    subscribe(session.client("lambda"), function.name, queue_arn)
    return arn


def subscribe(client: Any, function: str, queue_arn: str) -> None:
    """Create the event source mapping by which the queue invokes the function, or correct an existing one."""
    wanted = {"FunctionName": function, "EventSourceArn": queue_arn}
    found = client.list_event_source_mappings(**wanted)["EventSourceMappings"]
    if not found:
        client.create_event_source_mapping(**wanted, **TRIGGER)
    for mapping in found:
        is_on = mapping["State"] not in ("Disabled", "Disabling")
        if not is_on or any(mapping.get(key) != value for key, value in TRIGGER.items()):
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True, **TRIGGER)


def queue_name(config: dict[str, Any]) -> str:
    """Return the queue's name; region and account are the session's, so that one file serves every region."""
    return str(config["queue_url"].rpartition("/")[2])


def build_archive(config: dict[str, Any]) -> PythonPackageArchive:
    """Put the mailer, its templates, its configuration and what c7n-mailer imports into a zip.

    Compiled modules stay out: they are made for the Python that deploys, and each of these packages does without.
    """
    archive = PythonPackageArchive()
    for name, file in sorted(installed_files()):
        archive.add_file(file, name)
    archive.add_file(HERE.parent / "__init__.py", "c7n_ingress_tools/__init__.py")
    modules = [source for source in sorted(HERE.glob("*.py")) if source.name not in STAY]
    for source in (*modules, *sorted(HERE.glob("templates/*.j2"))):
        archive.add_file(source, f"c7n_ingress_tools/mailer/{source.relative_to(HERE)}")
    pack = Path(c7n_ingress.__file__).parent  # its decisions alone, which need neither c7n nor AWS
    for source in (pack / "__init__.py", *sorted(pack.glob("decide/*.py"))):
        archive.add_file(source, f"c7n_ingress/{source.relative_to(pack)}")
    archive.add_contents("mailer.json", json.dumps(config, indent=1, sort_keys=True))
    return archive.close()


def installed_files() -> set[tuple[str, str]]:
    """Return the files of c7n-mailer and of what it imports: each one's name in the archive, and where it is now.

    An extra that was installed by an older version of the pack can lack a package.
    """
    with requires_extra("mailer"):
        required = generate_requirements(IMPORTED, ignore=PROVIDED).splitlines()
        distributions = ["c7n-mailer", *IMPORTED, *(line.partition("==")[0] for line in required)]
        return {
            (str(file), str(file.locate()))
            for name in distributions
            for file in metadata.distribution(name).files or ()
            if file.suffix not in (".so", ".pyd", ".pyc")
            and file.parts[0] != ".."
            and ".dist-info" not in file.parts[0]
        }

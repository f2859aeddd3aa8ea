"""Facts about the deployed functions: whether code and settings are those that are here, and what starts each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from c7n.mu import CloudWatchEventSource

import c7n_ingress
from c7n_ingress_tools.check.facts import Fact, ok, wrong
from c7n_ingress_tools.check.here import Local, owner_and_name
from c7n_ingress_tools.check.read import Deployed, EventRule
from c7n_ingress_tools.names import MAILER, POLICIES, VERSION_TAG, is_policy
from c7n_ingress_tools.pause import TAG, paused

SUPPORTED_UNTIL = {
    "python3.10": "2026-10-31",
    "python3.11": "2027-06-30",
    "python3.12": "2028-10-31",
    "python3.13": "2029-06-30",
    "python3.14": "2029-06-30",
}
"""When AWS deprecates a runtime, as it plans: after that day there are no patches, and soon no new functions.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""

INVOKED_BY = {
    "config-rule": ("AWS Config", "config.amazonaws.com"),
    "periodic": ("EventBridge", "events.amazonaws.com"),
    "cloudtrail": ("EventBridge", "events.amazonaws.com"),
}
"""What invokes the function of a policy, by its mode: its name, and the principal that needs the permission."""

EVENTS = ("periodic", "cloudtrail")
"""The modes whose functions EventBridge starts."""

NO_RULE = "has no rule"

CLOSING = ("", "-cloudtrail", "-daily", "-noticed")
"""What follows POLICIES in the names of the functions that close groups."""

MOST_DIFFERENCES = 3
LONGEST = 70


def facts(
    local: Local,
    deployed: Mapping[str, Deployed],
    config_rules: Mapping[str, str],
    event_rules: Mapping[str, EventRule],
    now: datetime,
) -> Iterator[Fact]:
    """Return what is known of the policies' functions: one line for each that is right, else one for each fault."""
    ours = {name: each for name, each in deployed.items() if is_policy(name)}
    yield from which(local, set(ours))
    for name in sorted(filter(is_policy, {*config_rules, *event_rules} - {*ours})):
        fix = f"deploy its policy again, or c7n-ingress uninstall --region {local.region} {name}"
        yield wrong(name, "it has a rule and no function, so what the rule starts does not run", fix)
    for name, function in ours.items():
        if name not in local.wanted:
            fix = f"c7n-ingress uninstall --region {local.region} {name}, unless it is yours"
            yield wrong(name, "no policy of these files has this function", fix)
            continue
        nearest = min(
            (local.wanted[name], *local.wanted[name].others), key=lambda each: len(drifted(function, each.data))
        )
        policy, file = nearest.data, nearest.file
        deploy = local.deploy(file, policy["name"])
        mode = policy["mode"]["type"]
        fault = event_fault(function, event_rules.get(name)) if mode in EVENTS else config_rules.get(name, NO_RULE)
        faults = [
            *state(function),
            *version(function, deploy),
            *drift(function, policy, deploy),
            *trigger(function, mode, fault, local.region, deploy),
            *pause(function, local.region),
            *preview(function, deploy),
            *runtime(function, now.date(), deploy),
        ]
        yield from faults or [ok(name, "this version, these settings, and its trigger may invoke it")]


def which(local: Local, deployed: set[str]) -> Iterator[Fact]:
    """Whether the functions that are deployed close groups together, and are watched."""
    if not deployed & {f"{POLICIES}{name}" for name in CLOSING}:
        said = "no policy is deployed that closes groups"
        yield wrong("functions", said, local.deploy("policies/open-ingress.yml"))
    elif not deployed & {f"{POLICIES}-daily", f"{POLICIES}-noticed"}:
        said = "no policy is deployed that runs every day, and closes what the events miss"
        yield wrong("functions", said, local.deploy("policies/open-ingress.yml", "open-ingress-daily"))
    else:
        yield ok("functions", f"{len(deployed)} of {len(local.wanted)} policies are deployed")
    if f"{POLICIES}-noticed" in deployed and f"{POLICIES}-notice" not in deployed:
        said = "open-ingress-noticed closes only what open-ingress-notice marks, which is not deployed"
        yield wrong("functions", said, local.deploy("policies/open-ingress-notice.yml"))
    watch = {name for name in local.wanted if name.startswith(f"{POLICIES}-watch-")}
    if POLICIES not in deployed:
        watch -= {f"{POLICIES}-watch-recorder", f"{POLICIES}-watch-rule"}
    if missing := sorted(watch - deployed):
        yield wrong("watch", f"not deployed: {', '.join(missing)}", local.deploy("mode/watch.yml"))


def state(function: Deployed) -> Iterator[Fact]:
    """Whether Lambda can run the function."""
    found = function.configuration.get("State", "Active"), function.configuration.get("LastUpdateStatus", "Successful")
    if found[0] == "Failed" or found[1] == "Failed":
        said = function.configuration.get("StateReason") or function.configuration.get("LastUpdateStatusReason", "")
        yield wrong(function.name, f"Lambda cannot run it: {said}", "deploy its policy again")


def version(function: Deployed, deploy: str) -> Iterator[Fact]:
    """Whether the function has the code that is installed here."""
    package = Path(c7n_ingress.__file__).parent
    here = {f"c7n_ingress/{path.relative_to(package)}": path.read_bytes() for path in package.rglob("*.py")}
    there = {
        path: code for path, code in function.files.items() if path.startswith("c7n_ingress/") and path[-3:] == ".py"
    }
    if there and there != here:
        yield wrong(function.name, "has the code of another version of c7n-ingress", deploy)
    installed = metadata.version("c7n")
    found = re.search(rb'version = "(.+)"', function.files.get("c7n/version.py", b""))
    if found and found[1].decode() != installed:
        yield wrong(function.name, f"has c7n {found[1].decode()}, and {installed} is installed here", deploy)


def drift(function: Deployed, policy: Mapping[str, Any], deploy: str) -> Iterator[Fact]:
    """Whether the function's policy is the one of the files, with the same settings."""
    if found := drifted(function, policy):
        more = f" and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        said = f"other settings are deployed than those here: {'; '.join(found[:MOST_DIFFERENCES])}{more}"
        yield wrong(function.name, said, deploy)


def drifted(function: Deployed, policy: Mapping[str, Any]) -> list[str]:
    """Return where the function's policy differs from this one."""
    return [*differences(_untagged(function.policy), _untagged(json.loads(json.dumps(policy, default=str))))]


def _untagged(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy without the tags that Custodian adds when it deploys one."""
    own = {key: value for key, value in policy["mode"].get("tags", {}).items() if not key.startswith("custodian-")}
    return {**policy, "mode": {**policy["mode"], "tags": own}}


def differences(there: Any, here: Any, path: str = "") -> Iterator[str]:
    """Return where two policies differ, each place with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            yield from differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif _are_shapes(there) and _are_shapes(here) and len(there) == len(here):
        for number, (old, new) in enumerate(zip(there, here, strict=True)):
            yield from differences(old, new, f"{path}[{number}]")
    elif there != here:
        yield f"{path} is {_short(there)}, here {_short(here)}"


def _are_shapes(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict) for each in value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def event_fault(function: Deployed, rule: EventRule | None) -> str:
    """Return why EventBridge does not start a function as its policy says; an empty text if it does."""
    if rule is None:
        return NO_RULE
    mode = function.policy["mode"]
    pattern = json.loads(CloudWatchEventSource(mode, None).render_event_pattern() or "null")
    other = (rule.pattern, rule.schedule) != (pattern, mode.get("schedule"))
    return rule.fault or ("has a rule for other events than its policy" if other else "")


def trigger(function: Deployed, mode: str, fault: str, region: str, deploy: str) -> Iterator[Fact]:
    """Whether what starts the function is there, is on, and may invoke it.

    :param fault: why the function's rule does not start it; empty if it does.
    """
    if mode not in INVOKED_BY:
        return
    name, (service, principal) = function.name, INVOKED_BY[mode]
    if fault:
        yield wrong(name, f"{service} {fault}, so nothing starts it", deploy)
    elif principal not in function.invokers:
        delete = f"aws configservice delete-config-rule --region {region} --config-rule-name {name}, and then "
        yield wrong(name, f"{service} may not invoke it", (delete if mode == "config-rule" else "") + deploy)


def pause(function: Deployed, region: str) -> Iterator[Fact]:
    """Whether nobody has paused the function."""
    if function.concurrency != 0:
        return
    if who := paused(function.tags):
        fix = f"c7n-ingress resume --region {region}"
        yield wrong(function.name, f"paused since {who.since} by {who.by}", fix)
    else:
        said = f"its reserved concurrency is 0, so it never runs; no tag {TAG} says who did it"
        fix = f"aws lambda delete-function-concurrency --region {region} --function-name {function.name}"
        yield wrong(function.name, said, fix)


def preview(function: Deployed, deploy: str) -> Iterator[Fact]:
    """Whether a function that closes groups does so, and does not only report them."""
    actions = function.policy.get("actions", ())
    previews = any(isinstance(each, dict) and each.get("preview") is True for each in actions)
    if previews and function.name.removeprefix(POLICIES) in CLOSING:
        said = "reports what would be closed, and closes nothing, because `preview` is true"
        yield wrong(function.name, said, f"remove `preview` from settings.yml, and then {deploy}")


def runtime(function: Deployed, today: date, deploy: str) -> Iterator[Fact]:
    """Whether AWS still supports the function's runtime."""
    found = function.configuration["Runtime"]
    until = SUPPORTED_UNTIL.get(found)
    if until is None or today > date.fromisoformat(until):
        said = f"AWS does not support its runtime {found}" + (f" since {until}" if until else "")
        yield wrong(function.name, said, f"write a newer `runtime` into the policy's mode, and then {deploy}")


def mailer(
    local: Local, deployed: Mapping[str, Deployed], mappings: list[dict[str, Any]], central_queue: str, now: datetime
) -> Iterator[Fact]:
    """Whether the mailer is there, is of this version, and gets the messages, if this account sends its own."""
    deploy = f"c7n-ingress mailer deploy --region {local.region}"
    if central_queue:
        return
    if (function := deployed.get(MAILER)) is None:
        yield wrong(MAILER, "not deployed, so nobody is notified", deploy)
        return
    installed, found = metadata.version("c7n-ingress"), function.tags.get(VERSION_TAG, "an older version")
    faults = [*state(function), *runtime(function, now.date(), deploy)]
    if found != installed:
        faults.append(wrong(MAILER, f"is of {found}, and {installed} is installed here", deploy))
    queue = owner_and_name(local.queue, function.configuration["FunctionArn"].split(":")[4])
    sources = [each for each in mappings if owner_and_name(each["EventSourceArn"], "") == queue]
    if not any(each["State"] in ("Enabled", "Enabling", "Updating", "Creating") for each in sources):
        said = "its event source is disabled" if sources else f"the queue {local.queue} is not its event source"
        same = "name one queue in settings.yml and in mode/mailer.yml (queue_url), deploy the policies, and then "
        faults.append(wrong(MAILER, f"{said}, so nobody is notified", deploy if sources else f"{same}{deploy}"))
    yield from faults or [ok(MAILER, f"this version, and the queue {local.queue} is its event source")]

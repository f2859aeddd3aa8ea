"""Facts about the deployed functions: whether code and settings are those that are here, and what starts each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from c7n.mu import CloudWatchEventSource
from c7n.version import version as c7n_version

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

NO_RULE = "has no rule"

CLOSING = ("", "-cloudtrail", "-daily", "-noticed")
"""What follows POLICIES in the names of the functions that close groups."""

MOST_DIFFERENCES = 3
LONGEST = 70

Faults: TypeAlias = Iterator[tuple[str, str]]
"""What is wrong with a function, each with the fix."""


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
        policy, file = min(local.wanted[name], key=lambda each: len(drifted(function, each.policy.data)))
        deploy = local.deploy(file, policy.data["name"])
        faults = [
            *state(function, deploy),
            *version(function, deploy),
            *drift(function, policy.data, deploy),
            *trigger(function, config_rules, event_rules, local.region, deploy),
            *pause(function, local.region),
            *preview(function, deploy),
            *runtime(function, now.date(), deploy),
        ]
        yield from judged(name, faults, "this version, these settings, and its trigger may invoke it")


def judged(name: str, faults: list[tuple[str, str]], right: str) -> list[Fact]:
    """Return a line for each fault of a function, or the one that says that it is right."""
    return [wrong(name, said, fix) for said, fix in faults] or [ok(name, right)]


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


def state(function: Deployed, deploy: str) -> Faults:
    """Whether Lambda can run the function."""
    found = function.configuration
    if "Failed" in (found.get("State"), found.get("LastUpdateStatus")):
        said = found.get("StateReason") or found.get("LastUpdateStatusReason", "")
        yield f"Lambda cannot run it: {said}", deploy


def version(function: Deployed, deploy: str) -> Faults:
    """Whether the function has the code that is installed here."""
    package = Path(c7n_ingress.__file__).parent
    here = {f"c7n_ingress/{path.relative_to(package)}": path.read_bytes() for path in package.rglob("*.py")}
    there = {path: code for path, code in function.files.items() if re.fullmatch(r"c7n_ingress/.*\.py", path)}
    if there and there != here:
        yield "has the code of another version of c7n-ingress", deploy
    found = re.search(rb'version = "(.+)"', function.files.get("c7n/version.py", b""))
    if found and found[1].decode() != c7n_version:
        yield f"has c7n {found[1].decode()}, and {c7n_version} is installed here", deploy


def drift(function: Deployed, policy: Mapping[str, Any], deploy: str) -> Faults:
    """Whether the function's policy is the one of the files, with the same settings."""
    if found := drifted(function, policy):
        more = f" and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        yield f"other settings are deployed than those here: {'; '.join(found[:MOST_DIFFERENCES])}{more}", deploy


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


def trigger(
    function: Deployed, config_rules: Mapping[str, str], event_rules: Mapping[str, EventRule], region: str, deploy: str
) -> Faults:
    """Whether what starts the function is there, is on, and may invoke it."""
    name, mode = function.name, function.policy["mode"]["type"]
    if mode == "config-rule":
        service, principal, fault = "AWS Config", "config.amazonaws.com", config_rules.get(name, NO_RULE)
    elif mode in ("periodic", "cloudtrail"):
        service, principal, fault = "EventBridge", "events.amazonaws.com", event_fault(function, event_rules.get(name))
    else:
        return
    if fault:
        yield f"{service} {fault}, so nothing starts it", deploy
    elif principal not in function.invokers:
        delete = f"aws configservice delete-config-rule --region {region} --config-rule-name {name}, and then "
        yield f"{service} may not invoke it", (delete if mode == "config-rule" else "") + deploy


def event_fault(function: Deployed, rule: EventRule | None) -> str:
    """Return why EventBridge does not start a function as its policy says; an empty text if it does."""
    if rule is None:
        return NO_RULE
    mode = function.policy["mode"]
    pattern = json.loads(CloudWatchEventSource(mode, None).render_event_pattern() or "null")
    other = (rule.pattern, rule.schedule) != (pattern, mode.get("schedule"))
    return rule.fault or ("has a rule for other events than its policy" if other else "")


def pause(function: Deployed, region: str) -> Faults:
    """Whether nobody has paused the function."""
    if function.concurrency != 0:
        return
    if who := paused(function.tags):
        yield f"paused since {who.since} by {who.by}", f"c7n-ingress resume --region {region}"
    else:
        fix = f"aws lambda delete-function-concurrency --region {region} --function-name {function.name}"
        yield f"its reserved concurrency is 0, so it never runs; no tag {TAG} says who did it", fix


def preview(function: Deployed, deploy: str) -> Faults:
    """Whether a function that closes groups does so, and does not only report them."""
    actions = function.policy.get("actions", ())
    previews = any(isinstance(each, dict) and each.get("preview") is True for each in actions)
    if previews and function.name.removeprefix(POLICIES) in CLOSING:
        said = "reports what would be closed, and closes nothing, because `preview` is true"
        yield said, f"remove `preview` from settings.yml, and then {deploy}"


def runtime(function: Deployed, today: date, deploy: str) -> Faults:
    """Whether AWS still supports the function's runtime."""
    found = function.configuration["Runtime"]
    until = SUPPORTED_UNTIL.get(found, "")
    if str(today) > until:
        said = f"AWS does not support its runtime {found}" + (f" since {until}" if until else "")
        yield said, f"write a newer `runtime` into the policy's mode, and then {deploy}"


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
    faults = [*state(function, deploy), *runtime(function, now.date(), deploy)]
    installed, found = metadata.version("c7n-ingress"), function.tags.get(VERSION_TAG, "an older version")
    if found != installed:
        faults.append((f"is of {found}, and {installed} is installed here", deploy))
    queue = owner_and_name(local.queue, function.configuration["FunctionArn"].split(":")[4])
    sources = [each for each in mappings if owner_and_name(each["EventSourceArn"], "") == queue]
    if not sources:
        same = "name one queue in settings.yml and in mode/mailer.yml (queue_url), deploy the policies, and then "
        faults.append((f"the queue {local.queue} is not its event source, so nobody is notified", f"{same}{deploy}"))
    elif not any(each["State"] in ("Enabled", "Enabling", "Updating", "Creating") for each in sources):
        faults.append(("its event source is disabled, so nobody is notified", deploy))
    yield from judged(MAILER, faults, f"this version, and the queue {local.queue} is its event source")

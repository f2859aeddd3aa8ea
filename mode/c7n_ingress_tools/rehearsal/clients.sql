-- From flow log records to the sources that would be blocked: what clients.py says of each step, in DuckDB's SQL.
--
-- There are: flows, as flows.py reads them; own, the addresses of each interface; members, the groups of each interface;
-- open, the rules that were replaced; after, those that are there afterwards; sources, the addresses of each of their
-- sources; addresses, the number of each address in flows. Protocols: 6 is TCP, 1 and 58 are ICMP, null is all.

-- The numbers of the rule for scanners.
set variable long = 100;
set variable turned_away = 5;
set variable doors = 10;
set variable small = 3;
set variable half_open = 2;

-- From which port on clients come, as Linux has it:
-- https://docs.aws.amazon.com/vpc/latest/userguide/custom-network-acl.html#nacl-ephemeral-ports
set variable ephemeral = 32768;

-- How many clients of a rule are shown.
set variable shown = 5;

-- A rule with more clients than this serves the public, and no list of networks is of use to it.
set variable most_suggested = 1000;

-- A time as the report has it; nothing for none.
create macro time_of(seconds) as
coalesce(strftime(make_timestamp(nullif(seconds, 0)::BIGINT * 1000000), '%Y-%m-%d %H:%M:%S'), '');

-- Interfaces that have records, if only that there was no traffic.
create table logged as
select distinct "interface-id" as interface
from flows;

-- The addresses of each interface, as records write them.
create table own_texts as
select own.interface, addresses.text
from own join addresses on addresses.number between own.low and own.high;

-- Records into interfaces that are known, each once, even if one flow log has their flags and another has not. Where the
-- format has no direction, or says none, the destination decides.
create table inward as
select
    flows."interface-id" as interface, a.number as remote, coalesce(srcport, 0) as remote_port,
    coalesce(dstport, 0) as port, protocol, packets, bytes, "start", "end", action, dstaddr,
    bit_or("tcp-flags") as flags
from flows
    join addresses a on a.text = coalesce("pkt-srcaddr", srcaddr)
    left join own_texts o on o.interface = flows."interface-id" and o.text = flows.dstaddr
where flows."interface-id" in (select interface from members)
    and coalesce("flow-direction" = 'ingress', o.text is not null)
group by all;

-- When an interface began to send. Only where the other side's port is the lower one, or there are none: only that might
-- be a reply, and it spares half of the work.
create table outward as
select
    flows."interface-id" as interface, a.number as remote, coalesce(dstport, 0) as remote_port,
    coalesce(srcport, 0) as port, protocol, min("start") as began
from flows
    join addresses a on a.text = coalesce("pkt-dstaddr", dstaddr)
    left join own_texts o on o.interface = flows."interface-id" and o.text = flows.srcaddr
where flows."interface-id" in (select interface from members)
    and coalesce("flow-direction" = 'egress', o.text is not null)
    and (coalesce(dstport, 0) < coalesce(srcport, 0) or coalesce(dstport, 0) = 0)
group by all;

-- How many ports of the interface a port of the other side is used with, and the other way round: a service is one port
-- against many.
create table ports as
with pairs as (select distinct interface, protocol, remote_port, port from outward)
select
    *, count(*) over (partition by interface, protocol, remote_port) as against_remote,
    count(*) over (partition by interface, protocol, port) as against_own
from pairs;

-- Connections, but for replies.
create table connections as
select
    interface, protocol, port, remote,
    coalesce(bool_or(action = 'REJECT'), false) as turned_away,
    coalesce(bool_or(action = 'ACCEPT'), false) as let_in,
    coalesce(sum(packets) filter (action = 'ACCEPT'), 0) as packets,
    coalesce(sum(bytes) filter (action = 'ACCEPT'), 0) as bytes,
    max("end") filter (action = 'ACCEPT') as last
from inward
    left join outward using (interface, protocol, remote, remote_port, port)
    left join ports using (interface, protocol, remote_port, port)
group by interface, protocol, remote, remote_port, port
having not coalesce(case
    when protocol = 6 and bit_or(flags) & 2 = 2 then bit_or(flags) & 16 = 16
    when remote_port = 0 and port = 0 then any_value(began) < min("start")
    when coalesce(any_value(began) > min("start"), true) then false
    when any_value(against_remote) = any_value(against_own)
    then remote_port < getvariable('ephemeral') and port >= getvariable('ephemeral')
    else any_value(against_remote) > any_value(against_own)
end, false);

-- What came in through each rule.
create table through as
select row_number() over () as id, *
from (
    select
        open.rule, any_value(open.types) as types, any_value(open.protocol) as rule_protocol, c.interface, c.protocol,
        c.port, c.remote, sum(c.bytes) as bytes, max(c.last) as last
    from connections c
        join members on members.interface = c.interface
        join open on open.security_group = members.security_group
            and coalesce(open.protocol = c.protocol, true)
            and (c.protocol in (1, 58) or c.port between open.first and open.last)
            and c.remote between open.low and open.high
    where c.let_in
    group by open.rule, c.interface, c.protocol, c.port, c.remote
);

-- Which of it would still be let in.
create table kept as
select distinct t.id
from through t
    join (
        select sources.source, remotes.remote
        from (select distinct remote from through) remotes
            join sources on remotes.remote between sources.low and sources.high
    ) allowed on allowed.remote = t.remote
    join members on members.interface = t.interface
    join after on after.security_group = members.security_group and after.source = allowed.source
        and coalesce(after.protocol = t.protocol, true)
        and case
            when after.protocol is null then true
            when t.protocol in (1, 58)
            then after.types = 'all' or (after.types = t.types and t.rule_protocol is not null)
            else t.port between after.first and after.last
        end;

-- The sources that would be blocked, and whether they are scanners.
create table judged as
with doors as (
    select
        remote, interface, protocol, port, bool_or(turned_away) as turned_away, bool_or(let_in) as let_in,
        max(packets) as packets
    from connections
    where remote in (select remote from through where id not in (select id from kept))
    group by all
)
select
    remote,
    max(packets) <= getvariable('long') and (
        count(*) filter (turned_away) >= getvariable('turned_away')
        or (count(*) >= getvariable('doors') and max(packets) <= getvariable('small'))
        or (max(packets) <= getvariable('half_open') and bool_and(protocol = 6) filter (let_in))
    ) as scanner
from doors
group by remote;

-- Which source would be blocked at which rule.
create table came as
select
    rule, remote, scanner, sum(bytes)::HUGEINT as bytes, max(last) as last
from through join judged using (remote)
where id not in (select id from kept)
group by all;

-- The clients and the scanners at each rule for which networks are suggested.
create table suggested as
select rule, list(remote) filter (not scanner), list(remote) filter (scanner)
from came
group by rule
having count(*) filter (not scanner) between 1 and getvariable('most_suggested');

-- What is found of each rule: how many clients would be blocked and what they sent, when one sent something last, those
-- that sent the most; how many can still come in; how many scanners there are; how many interfaces have the rule's
-- group, and how many of them have records.
create table found as
with blocked as (
    select
        rule, count(*) as clients, sum(bytes)::HUGEINT as bytes, time_of(max(last)) as last,
        min({sorts: -bytes, remote: remote, bytes: bytes, last: time_of(last)}, getvariable('shown')) as callers
    from came
    where not scanner
    group by rule
),
scanners as (select rule, count(*) as scanners from came where scanner group by rule),
staying as (
    select rule, count(distinct remote) as stay
    from through anti join came using (rule, remote)
    group by rule
),
interfaces as (
    select security_group, count(*) as interfaces, count(logged.interface) as logged
    from members left join logged using (interface)
    group by security_group
)
select
    coalesce(clients, 0), coalesce(bytes, 0), coalesce(blocked.last, ''), coalesce(stay, 0), coalesce(scanners, 0),
    callers, clients > getvariable('most_suggested'), coalesce(interfaces, 0), coalesce(logged, 0)
from open
    left join blocked using (rule)
    left join scanners using (rule)
    left join staying using (rule)
    left join interfaces using (security_group)
order by rule;

-- The groups whose rules may still let in a client that would be blocked: those of the same interface.
create table beside as
select distinct open.rule, others.security_group
from open
    semi join (from came where not scanner) blocked using (rule)
    join members on members.security_group = open.security_group
    join members others on others.interface = members.interface;

-- Who may still be let in there, and is not known: prefix lists that were not read, and groups that no interface has. Of
-- ICMP, the types do not matter.
create table unseen as
select distinct after.source
from beside
    join open using (rule)
    join after on after.security_group = beside.security_group
        and coalesce(after.protocol = open.protocol, true)
        and after.first <= open.last and open.first <= after.last
where regexp_matches(after.source, '^(sg|pl)-') and after.source not in (select source from sources)
order by after.source like 'pl-%', after.source;

-- Records about interfaces that are not known. One that has no group, such as a NAT gateway's, is.
create table unknown as
select count(*), count(distinct "interface-id"), min("interface-id")
from flows
where "interface-id" not in (select interface from own);

-- Records with what is no address.
create table wrong as
select count(*), min(text)
from (select unnest([srcaddr, dstaddr]) as text from flows) texts
where text is not null and not exists (select 1 from addresses where addresses.text = texts.text);

# Each of these opens a port to the internet, in another way to write it.

resource "aws_security_group" "one_block" {
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "several_blocks" {
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["198.18.7.0/24"]
  }
  ingress {
    protocol         = "tcp"
    from_port        = 22
    to_port          = 22
    cidr_blocks      = []
    ipv6_cidr_blocks = ["2001:2:0:7::/64", "::/0"]
  }
}

resource "aws_security_group" "list_attribute" {
  ingress = [{
    protocol         = "-1"
    from_port        = 0
    to_port          = 0
    cidr_blocks      = ["198.18.7.0/24", "128.0.0.0/1"]
    ipv6_cidr_blocks = null
    prefix_list_ids  = []
    security_groups  = []
    self             = false
    description      = "half of the internet"
  }]
}

resource "aws_security_group" "dynamic_blocks" {
  dynamic "ingress" {
    for_each = [22, 3389]
    content {
      protocol    = "tcp"
      from_port   = ingress.value
      to_port     = ingress.value
      cidr_blocks = ["0.0.0.0/0"]
    }
  }
}

resource "aws_default_security_group" "one_block" {
  ingress {
    protocol    = -1
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group_rule" "several_sources" {
  security_group_id = "sg-0f0000000000000aa"
  type              = "ingress"
  protocol          = "all"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["198.18.7.0/24", "0.0.0.0/0", "198.18.8.0/24"]
}

resource "aws_security_group_rule" "each" {
  for_each          = toset(["22", "3389"])
  security_group_id = "sg-0f0000000000000aa"
  type              = "ingress"
  protocol          = "tcp"
  from_port         = each.key
  to_port           = each.key
  ipv6_cidr_blocks  = ["0:0::/00"]
}

variable "everybody" {
  type    = string
  default = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "ipv4" {
  security_group_id = "sg-0f0000000000000aa"
  ip_protocol       = "-1"
  cidr_ipv4         = var.everybody
}

resource "aws_vpc_security_group_ingress_rule" "ipv6" {
  security_group_id = "sg-0f0000000000000aa"
  ip_protocol       = "icmpv6"
  from_port         = -1
  to_port           = -1
  cidr_ipv6         = "::/0"
}

resource "aws_ec2_managed_prefix_list" "one_entry" {
  name           = "everybody"
  address_family = "IPv4"
  max_entries    = 1
  entry {
    cidr = "0.0.0.0/0"
  }
}

resource "aws_ec2_managed_prefix_list" "several_entries" {
  name           = "everybody"
  address_family = "IPv6"
  max_entries    = 2
  entry {
    cidr = "2001:2:0:7::/64"
  }
  entry {
    cidr = "2000::/3"
  }
}

resource "aws_ec2_managed_prefix_list_entry" "alone" {
  prefix_list_id = aws_ec2_managed_prefix_list.authorized.id
  cidr           = "128.0.0.0/1"
}

module "network" {
  source  = "./network"
  sources = ["0.0.0.0/0"]
}

# The source is known to be open, whatever else is not known.

variable "without_a_value" {}

resource "aws_security_group_rule" "unknown_direction_and_ports" {
  security_group_id = var.without_a_value
  type              = var.without_a_value
  protocol          = local.missing
  from_port         = local.missing
  to_port           = var.without_a_value
  cidr_blocks       = [local.missing, "0.0.0.0/0"]
}

# What is no exemption.

resource "aws_security_group" "exempt_until_it_ran_out" {
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }
  tags = { open-ingress-until = "2020-01-01" }
}

resource "aws_security_group" "exempt_in_other_digits" {
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }
  tags = { open-ingress-until = replace(formatdate("YYYY-MM-DD", timeadd(timestamp(), "720h")), "2", "٢") }
}

resource "aws_security_group" "exempt_until_the_end_of_a_line" {
  ingress {
    protocol    = "tcp"
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["0.0.0.0/0"]
  }
  tags = { open-ingress-until = "${formatdate("YYYY-MM-DD", timeadd(timestamp(), "720h"))}\n" }
}

resource "aws_vpc_security_group_ingress_rule" "exempt_by_its_own_tag" {
  security_group_id = "sg-0f0000000000000aa"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = { open-ingress-until = formatdate("YYYY-MM-DD", timeadd(timestamp(), "720h")) }
}

resource "aws_ec2_managed_prefix_list" "of_an_exempt_group" {
  name           = "everybody"
  address_family = "IPv4"
  max_entries    = 1
  entry {
    cidr = "0.0.0.0/0"
  }
  tags = { open-ingress-until = aws_security_group.exempt.tags.open-ingress-until }
}

resource "aws_security_group" "beside_an_exempt_group" {
  ingress {
    protocol        = "tcp"
    from_port       = 5432
    to_port         = 5432
    cidr_blocks     = ["0.0.0.0/0"]
    security_groups = [aws_security_group.exempt.id]
  }
}

resource "aws_security_group" "not_exempt" {}

resource "aws_vpc_security_group_ingress_rule" "named_after_an_exempt_group" {
  security_group_id = aws_security_group.not_exempt.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  description       = "as ${aws_security_group.exempt.id}"
}

resource "aws_vpc_security_group_ingress_rule" "named_after_an_exempt_default_group" {
  security_group_id = aws_security_group.not_exempt.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  description       = "as ${aws_default_security_group.exempt.id}"
}

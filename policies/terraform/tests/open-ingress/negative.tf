# None of these opens a port to the internet, or it cannot be known.

resource "aws_security_group" "no_rules" {}

resource "aws_security_group" "no_rules_in_a_list" {
  ingress = []
}

resource "aws_security_group" "authorized" {
  ingress {
    protocol         = "tcp"
    from_port        = 22
    to_port          = 22
    cidr_blocks      = ["198.18.7.0/24", "10.0.0.0/8", "0.0.0.0/32"]
    ipv6_cidr_blocks = ["2001:2:0:7::/64", "2a02::/16", "FC00::/7", "fd00::/08"]
  }
  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_default_security_group" "itself" {
  ingress {
    protocol  = -1
    from_port = 0
    to_port   = 0
    self      = true
  }
}

resource "aws_security_group_rule" "egress" {
  security_group_id = aws_security_group.authorized.id
  type              = "egress"
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["0.0.0.0/0"]
}

resource "aws_vpc_security_group_egress_rule" "egress" {
  security_group_id = aws_security_group.authorized.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "another_group" {
  security_group_id            = aws_security_group.authorized.id
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.no_rules.id
}

resource "aws_ec2_managed_prefix_list" "authorized" {
  name           = "authorized"
  address_family = "IPv4"
  max_entries    = 3
  entry {
    cidr = "198.18.7.0/24"
  }
  entry {
    cidr = "10.0.0.0/8"
  }
}

resource "aws_ec2_managed_prefix_list" "no_entries" {
  name           = "authorized"
  address_family = "IPv6"
  max_entries    = 1
}

resource "aws_security_group" "prefix_list" {
  ingress {
    protocol        = "tcp"
    from_port       = 22
    to_port         = 22
    prefix_list_ids = [aws_ec2_managed_prefix_list.authorized.id]
  }
}

module "closed_network" {
  source  = "./network"
  sources = ["198.18.7.0/24"]
}

# What is not made.

variable "made" {
  type    = bool
  default = false
}

resource "aws_security_group_rule" "not_made" {
  count             = var.made ? 1 : 0
  security_group_id = aws_security_group.authorized.id
  type              = "ingress"
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["0.0.0.0/0"]
}

module "not_made" {
  source  = "./network"
  count   = var.made ? 1 : 0
  sources = ["0.0.0.0/0"]
}

# Exempt for thirty days.

resource "aws_security_group" "exempt" {
  ingress {
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
  tags = { open-ingress-until = formatdate("YYYY-MM-DD", timeadd(timestamp(), "720h")) }
}

resource "aws_vpc_security_group_ingress_rule" "of_an_exempt_group" {
  security_group_id = aws_security_group.exempt.id
  ip_protocol       = "-1"
  cidr_ipv6         = "::/0"
}

resource "aws_security_group_rule" "of_an_exempt_group_that_names_another" {
  security_group_id = aws_security_group.exempt.id
  type              = "ingress"
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["0.0.0.0/0"]
  description       = "as ${aws_security_group.authorized.id}"
}

resource "aws_default_security_group" "exempt" {
  tags = { open-ingress-until = formatdate("YYYY-MM-DD", timeadd(timestamp(), "720h")) }
}

resource "aws_vpc_security_group_ingress_rule" "of_an_exempt_default_group" {
  security_group_id = aws_default_security_group.exempt.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

# Sources that are not known before they are deployed.

variable "no_value" {}

variable "no_list" {
  type = list(string)
}

data "aws_vpc" "shared" {}

resource "aws_security_group" "unknown_sources" {
  ingress {
    protocol    = var.no_value
    from_port   = var.no_value
    to_port     = local.no_such_local
    cidr_blocks = var.no_value
  }
  ingress {
    protocol         = "tcp"
    from_port        = 22
    to_port          = 22
    cidr_blocks      = concat(var.no_list, data.aws_vpc.shared.cidr_block_associations[*].cidr_block)
    ipv6_cidr_blocks = [data.aws_vpc.shared.ipv6_cidr_block]
  }
  tags = var.no_value
}

resource "aws_security_group" "unknown_rules" {
  ingress = var.no_value
  tags    = merge(local.no_such_local, { name = "unknown" })
}

resource "aws_security_group" "unknown_blocks" {
  dynamic "ingress" {
    for_each = var.no_list
    content {
      protocol    = "tcp"
      from_port   = ingress.value
      to_port     = ingress.value
      cidr_blocks = ["0.0.0.0/0"]
    }
  }
}

resource "aws_ec2_managed_prefix_list" "unknown_entries" {
  name           = var.no_value
  address_family = "IPv4"
  max_entries    = 9
  entry          = var.no_value
}

resource "aws_ec2_managed_prefix_list_entry" "unknown_network" {
  prefix_list_id = var.no_value
  cidr           = data.aws_vpc.shared.cidr_block
}

resource "aws_vpc_security_group_ingress_rule" "unknown_source" {
  security_group_id = var.no_value
  ip_protocol       = "-1"
  cidr_ipv4         = data.aws_vpc.shared.cidr_block
  cidr_ipv6         = local.no_such_local
}

# Who may reach the collector, and where it may send.

resource "aws_security_group" "collector" {
  name_prefix = "${var.name}-"
  description = "VXLAN collector"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  security_group_id = aws_security_group.collector.id
  description       = "SSH"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = var.ssh_range
}

resource "aws_vpc_security_group_ingress_rule" "metrics" {
  security_group_id = aws_security_group.collector.id
  description       = "Metrics"
  ip_protocol       = "tcp"
  from_port         = 9747
  to_port           = 9747
  cidr_ipv4         = var.metrics_range
}

resource "aws_vpc_security_group_ingress_rule" "frames" {
  security_group_id            = aws_security_group.collector.id
  description                  = "Mirrored frames"
  ip_protocol                  = "udp"
  from_port                    = 4789
  to_port                      = 4789
  cidr_ipv4                    = local.group ? null : var.mirror_range
  referenced_security_group_id = local.group ? aws_security_group.load_balancer[0].id : null
}

resource "aws_vpc_security_group_ingress_rule" "health" {
  count                        = local.group ? 1 : 0
  security_group_id            = aws_security_group.collector.id
  description                  = "Health checks"
  ip_protocol                  = "tcp"
  from_port                    = 9747
  to_port                      = 9747
  referenced_security_group_id = aws_security_group.load_balancer[0].id
}

resource "aws_vpc_security_group_egress_rule" "t_meter" {
  security_group_id = aws_security_group.collector.id
  description       = "Frames to the t-meter"
  ip_protocol       = "udp"
  from_port         = var.t_meter_port
  to_port           = var.t_meter_port
  cidr_ipv4         = var.t_meter_range
}

resource "aws_vpc_security_group_egress_rule" "probe" {
  security_group_id = aws_security_group.collector.id
  description       = "Is the t-meter there"
  ip_protocol       = "icmp"
  from_port         = 8
  to_port           = -1
  cidr_ipv4         = var.t_meter_range
}

resource "aws_security_group" "load_balancer" {
  count       = local.group ? 1 : 0
  name_prefix = "${var.name}-load-balancer-"
  description = "VXLAN collector, load balancer"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-load-balancer" }
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  count             = local.group ? 1 : 0
  security_group_id = aws_security_group.load_balancer[0].id
  description       = "Mirrored frames"
  ip_protocol       = "udp"
  from_port         = 4789
  to_port           = 4789
  cidr_ipv4         = var.mirror_range
}

resource "aws_vpc_security_group_egress_rule" "load_balancer_frames" {
  count                        = local.group ? 1 : 0
  security_group_id            = aws_security_group.load_balancer[0].id
  description                  = "Mirrored frames"
  ip_protocol                  = "udp"
  from_port                    = 4789
  to_port                      = 4789
  referenced_security_group_id = aws_security_group.collector.id
}

resource "aws_vpc_security_group_egress_rule" "load_balancer_health" {
  count                        = local.group ? 1 : 0
  security_group_id            = aws_security_group.load_balancer[0].id
  description                  = "Health checks"
  ip_protocol                  = "tcp"
  from_port                    = 9747
  to_port                      = 9747
  referenced_security_group_id = aws_security_group.collector.id
}

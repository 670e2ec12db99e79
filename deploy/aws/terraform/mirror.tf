# What is mirrored.

locals {
  everything = var.mirror_traffic == "all" ? {
    for each in setproduct(["ingress", "egress"], ["0.0.0.0/0", "::/0"]) : join(" ", each) => {
      direction = each[0]
      number    = each[1] == "::/0" ? 20 : 10
      protocol  = null
      network   = each[1]
      end       = null
      ports     = null
    }
  } : {}

  # Ten rules, as many as AWS allows: SIP at either end, RTP at the PBX's.
  sip = var.mirror_traffic == "telephony" ? {
    for each in setproduct(["ingress", "egress"], ["local", "remote"], [6, 17]) : join(" ", each) => {
      direction = each[0]
      number    = tonumber("${each[1] == "local" ? 10 : 20}${each[2]}")
      protocol  = each[2]
      network   = "0.0.0.0/0"
      end       = (each[0] == "ingress") == (each[1] == "local") ? "destination" : "source"
      ports     = [5060, 5061]
    }
  } : {}
  rtp = var.mirror_traffic == "telephony" ? {
    for each in ["ingress", "egress"] : "${each} rtp" => {
      direction = each
      number    = 300
      protocol  = 17
      network   = "0.0.0.0/0"
      end       = each == "ingress" ? "destination" : "source"
      ports     = [var.rtp_first_port, var.rtp_last_port]
    }
  } : {}
}

resource "aws_ec2_traffic_mirror_target" "collector" {
  description               = "VXLAN collector"
  network_interface_id      = local.group ? null : aws_network_interface.collector[0].id
  network_load_balancer_arn = local.group ? aws_lb.collector[0].arn : null
  tags                      = local.tags
}

resource "aws_ec2_traffic_mirror_filter" "collector" {
  description = "VXLAN collector"
  tags        = local.tags
}

resource "aws_ec2_traffic_mirror_filter_rule" "collector" {
  for_each                 = merge(local.everything, local.sip, local.rtp)
  traffic_mirror_filter_id = aws_ec2_traffic_mirror_filter.collector.id
  traffic_direction        = each.value.direction
  rule_number              = each.value.number
  rule_action              = "accept"
  protocol                 = each.value.protocol
  source_cidr_block        = each.value.network
  destination_cidr_block   = each.value.network

  dynamic "source_port_range" {
    for_each = each.value.end == "source" ? [each.value.ports] : []
    content {
      from_port = source_port_range.value[0]
      to_port   = source_port_range.value[1]
    }
  }
  dynamic "destination_port_range" {
    for_each = each.value.end == "destination" ? [each.value.ports] : []
    content {
      from_port = destination_port_range.value[0]
      to_port   = destination_port_range.value[1]
    }
  }
}

resource "aws_ec2_traffic_mirror_session" "collector" {
  for_each                 = var.pbx_interfaces
  network_interface_id     = each.value
  traffic_mirror_target_id = aws_ec2_traffic_mirror_target.collector.id
  traffic_mirror_filter_id = aws_ec2_traffic_mirror_filter.collector.id
  session_number           = var.session_number
  virtual_network_id       = var.vni
  description              = "VXLAN collector"
  tags                     = local.tags
}

# One instance. Its interface outlives it, so that a new instance is mirrored to as the old one was.

resource "aws_network_interface" "collector" {
  count           = local.group ? 0 : 1
  description     = "VXLAN collector"
  subnet_id       = var.subnet_ids[0]
  security_groups = [aws_security_group.collector.id]
  tags            = local.tags
}

resource "aws_eip" "collector" {
  count  = !local.group && local.public ? 1 : 0
  domain = "vpc"
  tags   = local.tags
}

resource "aws_eip_association" "collector" {
  count                = !local.group && local.public ? 1 : 0
  allocation_id        = aws_eip.collector[0].id
  network_interface_id = aws_network_interface.collector[0].id
}

resource "aws_instance" "collector" {
  count = local.group ? 0 : 1
  launch_template {
    id      = aws_launch_template.collector.id
    version = aws_launch_template.collector.latest_version
  }
}

locals {
  group  = var.deployment == "group"
  public = var.public_address == "yes"
  tags   = { Name = var.name }
  notify = var.alarm_topic == "" ? [] : [var.alarm_topic]
}

# The collector calls no AWS API, so its role allows nothing. It is here for what your account may want to add.
resource "aws_iam_role" "collector" {
  name_prefix = "${var.name}-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_instance_profile" "collector" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.collector.name
}

resource "aws_launch_template" "collector" {
  name_prefix            = "${var.name}-"
  image_id               = var.image_id
  instance_type          = var.instance_type
  key_name               = var.key_name
  update_default_version = true

  # Its first line lets cloud-init fill in the MAC address: the interface's name differs by instance type.
  user_data = base64encode(templatefile("${path.module}/user-data.yaml", {
    mirror_range    = var.mirror_range
    t_meter_address = var.t_meter_address
    t_meter_port    = var.t_meter_port
  }))

  iam_instance_profile {
    arn = aws_iam_instance_profile.collector.arn
  }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  network_interfaces {
    device_index                = 0
    network_interface_id        = local.group ? null : aws_network_interface.collector[0].id
    security_groups             = local.group ? [aws_security_group.collector.id] : null
    associate_public_ip_address = local.group ? local.public : null
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = var.volume_size
      delete_on_termination = true
    }
  }
  tag_specifications {
    resource_type = "instance"
    tags          = local.tags
  }
  tag_specifications {
    resource_type = "volume"
    tags          = local.tags
  }
}

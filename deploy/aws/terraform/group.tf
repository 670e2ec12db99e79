# A group. A flow stays with one instance: the mirror's UDP source port is made of the flow's addresses and ports.

resource "aws_lb" "collector" {
  count                            = local.group ? 1 : 0
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = var.subnet_ids
  security_groups                  = [aws_security_group.load_balancer[0].id]
  enable_cross_zone_load_balancing = true
  tags                             = local.tags
}

resource "aws_lb_target_group" "collector" {
  count       = local.group ? 1 : 0
  vpc_id      = var.vpc_id
  target_type = "instance"
  protocol    = "UDP"
  port        = 4789
  tags        = local.tags

  # The flows of an instance that goes are given to the others at once.
  deregistration_delay   = 10
  connection_termination = true

  health_check {
    protocol            = "HTTP"
    port                = "9747"
    path                = "/healthz"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
    matcher             = "200"
  }
}

# Without this listener AWS stops mirroring, and does not say so.
resource "aws_lb_listener" "collector" {
  count             = local.group ? 1 : 0
  load_balancer_arn = aws_lb.collector[0].arn
  protocol          = "UDP"
  port              = 4789
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.collector[0].arn
  }
}

resource "aws_autoscaling_group" "collector" {
  count                     = local.group ? 1 : 0
  name_prefix               = "${var.name}-"
  min_size                  = var.group_min
  max_size                  = var.group_max
  vpc_zone_identifier       = var.subnet_ids
  target_group_arns         = [aws_lb_target_group.collector[0].arn]
  health_check_type         = "ELB"
  health_check_grace_period = 300

  launch_template {
    id      = aws_launch_template.collector.id
    version = aws_launch_template.collector.latest_version
  }
  instance_refresh {
    strategy = "Rolling"
  }
  depends_on = [
    aws_lb_listener.collector,
    aws_vpc_security_group_ingress_rule.frames,
    aws_vpc_security_group_ingress_rule.health,
  ]
}

resource "aws_autoscaling_policy" "collector" {
  count                     = local.group ? 1 : 0
  name                      = "${var.name}-cpu"
  autoscaling_group_name    = aws_autoscaling_group.collector[0].name
  policy_type               = "TargetTrackingScaling"
  estimated_instance_warmup = 300
  target_tracking_configuration {
    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
    target_value = 50
  }
}

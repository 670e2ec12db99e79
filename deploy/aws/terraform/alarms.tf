# What AWS counts for a mirrored instance, every five minutes.

resource "aws_cloudwatch_metric_alarm" "skipped" {
  for_each            = var.pbx_instances
  alarm_name          = "${var.name}-skipped-${each.value}"
  alarm_description   = "AWS has skipped mirrored packets of ${each.value}: the instance's network is busy, and its own traffic goes first. Calls at the t-meter have gaps. Use a larger instance type for the PBX."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.notify
  ok_actions          = local.notify

  metric_query {
    id          = "skipped"
    expression  = "FILL(in, 0) + FILL(out, 0)"
    label       = "Bytes that were not mirrored"
    return_data = true
  }
  dynamic "metric_query" {
    for_each = { in = "NetworkSkipMirrorIn", out = "NetworkSkipMirrorOut" }
    content {
      id          = metric_query.key
      return_data = false
      metric {
        namespace   = "AWS/EC2"
        metric_name = metric_query.value
        dimensions  = { InstanceId = each.value }
        period      = 300
        stat        = "Sum"
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "silent" {
  for_each            = var.pbx_instances
  alarm_name          = "${var.name}-silent-${each.value}"
  alarm_description   = "AWS has mirrored nothing of ${each.value} for 15 minutes. Is the PBX running? Are the mirror session, its filter and its target there?"
  comparison_operator = "LessThanOrEqualToThreshold"
  threshold           = 0
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = local.notify
  ok_actions          = local.notify

  metric_query {
    id          = "mirrored"
    expression  = "FILL(in, 0) + FILL(out, 0)"
    label       = "Bytes that were mirrored"
    return_data = true
  }
  dynamic "metric_query" {
    for_each = { in = "NetworkMirrorIn", out = "NetworkMirrorOut" }
    content {
      id          = metric_query.key
      return_data = false
      metric {
        namespace   = "AWS/EC2"
        metric_name = metric_query.value
        dimensions  = { InstanceId = each.value }
        period      = 300
        stat        = "Sum"
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "instance" {
  count               = local.group ? 0 : 1
  alarm_name          = "${var.name}-instance"
  alarm_description   = "The collector's instance does not pass EC2's status checks."
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { InstanceId = aws_instance.collector[0].id }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = local.notify
  ok_actions          = local.notify
}

locals {
  load_balancer_dimensions = local.group ? {
    LoadBalancer = aws_lb.collector[0].arn_suffix
    TargetGroup  = aws_lb_target_group.collector[0].arn_suffix
  } : {}
}

resource "aws_cloudwatch_metric_alarm" "unhealthy" {
  count               = local.group ? 1 : 0
  alarm_name          = "${var.name}-unhealthy"
  alarm_description   = "The load balancer finds a collector that does not answer on /healthz."
  namespace           = "AWS/NetworkELB"
  metric_name         = "UnHealthyHostCount"
  dimensions          = local.load_balancer_dimensions
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.notify
  ok_actions          = local.notify
}

resource "aws_cloudwatch_metric_alarm" "none_healthy" {
  count               = local.group ? 1 : 0
  alarm_name          = "${var.name}-none-healthy"
  alarm_description   = "The load balancer finds no collector that answers. Nothing is forwarded."
  namespace           = "AWS/NetworkELB"
  metric_name         = "HealthyHostCount"
  dimensions          = local.load_balancer_dimensions
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = local.notify
  ok_actions          = local.notify
}

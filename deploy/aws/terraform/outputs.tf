output "mirror_target" {
  description = "The mirror target, for sessions of further PBXs."
  value       = aws_ec2_traffic_mirror_target.collector.id
}

output "mirror_filter" {
  description = "The mirror filter, for sessions of further PBXs."
  value       = aws_ec2_traffic_mirror_filter.collector.id
}

output "security_group" {
  description = "The collector's security group."
  value       = aws_security_group.collector.id
}

output "role" {
  description = "The collector's role. It allows nothing."
  value       = aws_iam_role.collector.name
}

output "private_address" {
  description = "The collector's address in the VPC, if it is one instance."
  value       = one(aws_network_interface.collector[*].private_ip)
}

output "public_address" {
  description = "The collector's address in the internet, which the t-meter sees, if it is one instance and has one."
  value       = one(aws_eip.collector[*].public_ip)
}

output "load_balancer" {
  description = "The load balancer's name, if it is a group."
  value       = one(aws_lb.collector[*].dns_name)
}
